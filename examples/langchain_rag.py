#!/usr/bin/env python3
"""Answer a question about a folder of text with LangChain: `examples/langchain_rag.py FOLDER "QUESTION"`.

The program splits the folder's Markdown and text files into passages and finds those nearest to the question in a FAISS
index. An agent answers from these passages. `roundhouse client-config env` prints OPENAI_BASE_URL, OPENAI_MODEL and
OPENAI_API_KEY for an agent. Install the packages with `pip install --requirement requirements/examples.txt`.

An agent that chats computes no embeddings. By default the embeddings are computed from the folder itself by latent
semantic analysis, without a download. This method compares only words that occur in the folder. For other words, set
EMBEDDINGS_BASE_URL and EMBEDDINGS_MODEL to an endpoint with an embedding model (vLLM, Ollama, llama.cpp).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

try:
    import faiss
    import numpy
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from openai import APIConnectionError, APIStatusError
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer
except ModuleNotFoundError as missing:
    raise SystemExit(
        f"{missing.name} is not installed. Run `pip install --requirement requirements/examples.txt`."
    ) from None

PASSAGE_CHARACTERS, PASSAGES, DIMENSIONS = 800, 3, 128
ANSWER_TOKENS = int(os.environ.get("EXAMPLE_TOKENS", "256"))
PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer from these passages alone; say so when they do not tell.\n\n{passages}"),
        ("human", "{question}"),
    ]
)


class FolderEmbeddings(Embeddings):
    """Latent semantic analysis of the folder's passages: texts with the same or neighbouring words are near."""

    def __init__(self, texts: list[str]) -> None:
        words = TfidfVectorizer(sublinear_tf=True, stop_words="english", ngram_range=(1, 2))
        found = words.fit_transform(texts)
        dimensions = min(DIMENSIONS, len(texts) - 1, found.shape[1] - 1)
        self._pipeline = make_pipeline(words, TruncatedSVD(max(dimensions, 1), random_state=0), Normalizer(copy=False))
        self._pipeline.fit(texts)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text."""
        return self._pipeline.transform(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question."""
        return self.embed_documents([text])[0]


class Index:
    """A FAISS index of passages by the angle between their vectors and a question's."""

    def __init__(self, found: list[Document], by: Embeddings) -> None:
        self._found, self._by = found, by
        vectors = self._unit(by.embed_documents([each.page_content for each in found]))
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)

    def nearest(self, question: str, count: int) -> list[Document]:
        """Return the passages that are nearest to a question, the nearest first."""
        _, rows = self._index.search(self._unit([self._by.embed_query(question)]), min(count, len(self._found)))
        return [self._found[row] for row in rows[0]]

    @staticmethod
    def _unit(vectors: list[list[float]]) -> numpy.ndarray:
        made = numpy.array(vectors, dtype="float32")
        faiss.normalize_L2(made)
        return made


def passages(folder: Path) -> list[Document]:
    """Return the folder's text in passages, each with its file."""
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".md", ".txt") and file.is_file())
    whole = [Document(file.read_text(errors="replace"), metadata={"source": str(file)}) for file in files]
    return RecursiveCharacterTextSplitter(chunk_size=PASSAGE_CHARACTERS, chunk_overlap=80).split_documents(whole)


def embeddings(texts: list[str]) -> Embeddings:
    """Return the embeddings of an endpoint where one is named, else of the folder."""
    if url := os.environ.get("EMBEDDINGS_BASE_URL"):
        # check_embedding_ctx_length would send OpenAI's own token numbers instead of text.
        return OpenAIEmbeddings(
            base_url=url, model=os.environ.get("EMBEDDINGS_MODEL", "embeddings"), check_embedding_ctx_length=False
        )
    return FolderEmbeddings(texts)


def main(folder: str, question: str) -> int:
    """Print the answer and the passages that it is based on; return 0, or 2 if the folder has no text."""
    found = passages(Path(folder))
    if not found:
        print(f"{folder} contains no .md or .txt file. Name another folder.", file=sys.stderr)
        return 2
    index = Index(found, embeddings([each.page_content for each in found]))
    near = index.nearest(question, PASSAGES)
    model = ChatOpenAI(model=os.environ.get("OPENAI_MODEL", "dev"), max_tokens=ANSWER_TOKENS)
    told = "\n\n".join(each.page_content for each in near)
    print((PROMPT | model).invoke({"passages": told, "question": question}).text)
    for each in near:
        print(f"from {each.metadata['source']}: {each.page_content.strip().splitlines()[0][:80]}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OPENAI_BASE_URL", "http://127.0.0.1:8001/v1")
    os.environ.setdefault("OPENAI_API_KEY", "not-needed")
    if len(sys.argv) != 3:
        raise SystemExit('Name a folder and a question: examples/langchain_rag.py docs "What is a switch?"')
    try:
        raise SystemExit(main(*sys.argv[1:]))
    except APIConnectionError:
        url = os.environ["OPENAI_BASE_URL"]
        raise SystemExit(
            f"{url} does not answer. Check the agent with `roundhouse status`, and correct OPENAI_BASE_URL."
        ) from None
    except APIStatusError as refused:
        raise SystemExit(f"{refused.message}\nCheck the agent with `roundhouse status`.") from None
