"""`python -m pipelines.vae`"""

from pipelines.vae.stage import main

if __name__ == "__main__":
    main()
