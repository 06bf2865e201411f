"""`python -m pipelines.pack`"""

from pipelines.pack.stage import main

if __name__ == "__main__":
    main()
