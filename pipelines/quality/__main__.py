"""`python -m pipelines.quality`"""

from pipelines.quality.stage import main

if __name__ == "__main__":
    main()
