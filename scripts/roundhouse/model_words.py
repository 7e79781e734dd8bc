"""The words about models, each with its line of help. Apart from what they do: who switches must not load that."""

WORDS = {
    "pull": "Bring models into the store: what is missing, whole or not at all.",
    "verify": "Read every byte of the store again, without a network.",
    "models": "List what the store holds, whose it is, and since when it is verified.",
    "prune": "Remove what no plan and no way back needs; asks first.",
    "quantize": "Make a quantized model, and admit it when the engine says that it still speaks.",
    "export": "Pull models into a folder for a host without internet: models_source there.",
}
