"""`python -m pipelines.annotate`"""

from pipelines.annotate.stage import main

if __name__ == "__main__":
    main()
