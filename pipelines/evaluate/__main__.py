"""`python -m pipelines.evaluate`"""

from pipelines.evaluate.stage import main

if __name__ == "__main__":
    main()
