from pipelines.engine.renamed import run_as

if __name__ == "__main__":
    run_as("pipelines.sample")
