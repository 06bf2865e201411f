"""`python -m pipelines.encode`"""

from pipelines.encode.stage import main

if __name__ == "__main__":
    main()
