from pipelines.engine.renamed import run_as

if __name__ == "__main__":
    run_as("pipelines.engine.ray")
