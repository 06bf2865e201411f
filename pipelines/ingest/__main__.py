"""`python -m pipelines.ingest`"""

from pipelines.ingest.stage import main

if __name__ == "__main__":
    main()
