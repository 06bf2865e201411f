"""`python -m pipelines.people`"""

from pipelines.people.stage import main

if __name__ == "__main__":
    main()
