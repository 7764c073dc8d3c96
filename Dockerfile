# An image of this Meltano project with the loader for PostgreSQL: see docs/operations.md.
FROM python:3.13-slim

# The extra `s3` is for a state in a bucket of S3; there are `gcs` and `azure` too.
RUN pip install --no-cache-dir "meltano[s3]>=4,<5" \
    && useradd --uid 1000 --create-home meltano \
    && install --directory --owner meltano /project

USER 1000
WORKDIR /project
COPY --chown=1000 LICENSE README.md meltano.yml pyproject.toml ./
COPY --chown=1000 tap_dynamic ./tap_dynamic
RUN meltano install tap-dynamic target-postgres

ENTRYPOINT ["meltano"]
CMD ["run", "--no-install", "tap-dynamic", "target-postgres"]
