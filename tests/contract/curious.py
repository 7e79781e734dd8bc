"""Requests with each of vLLM's request parameters once, and the expected status of the answer.

REQUESTS are (name, path, body, status). The model's name is added to each body.
"""

import functools

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
FEW = {"max_tokens": 8}
HELLO = FEW | {"messages": [{"role": "user", "content": "Hello"}]}
PROMPT = FEW | {"prompt": "The"}
WHO = {
    "type": "object",
    "properties": {"who": {"enum": ["dev", "po"]}},
    "required": ["who"],
    "additionalProperties": False,
}
CALL = {"name": "switch", "description": "Switch to an agent", "parameters": WHO}
TOOLS = HELLO | {"max_tokens": 40, "tools": [{"type": "function", "function": CALL}]}
NAMED = {"type": "function", "function": {"name": "switch"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "who", "schema": WHO, "strict": True}}
WORDS = "word " * 9000  # more than any max_model_len here
# Token ids, so that the length is the same with any vocabulary. Prompt and answer fill max_model_len of test_engine.py.
FULL = [5] * (4096 - FEW["max_tokens"])
DEEP = functools.reduce(lambda inner, _: {"type": "object", "properties": {"a": inner}}, range(400), WHO)


def _chat(name, status=200, **more):
    return (f"chat, {name}", CHAT, HELLO | more, status)


def _completion(name, status=200, **more):
    return (f"completion, {name}", COMPLETIONS, PROMPT | more, status)


REQUESTS = [
    _chat("logprobs", logprobs=True),
    _chat("top_logprobs", logprobs=True, top_logprobs=5),
    _chat("more top_logprobs than allowed", 400, logprobs=True, top_logprobs=500),
    _chat("prompt_logprobs", prompt_logprobs=1),
    _completion("logprobs", logprobs=3),
    _completion("all logprobs", 400, logprobs=-1),
    _completion("prompt_logprobs", prompt_logprobs=2),
    _completion("echo with logprobs", echo=True, logprobs=1),
    _completion("echo", echo=True),
    _completion("n", n=3),
    _chat("n", n=3, temperature=1.0),
    _chat("n and greedy", 400, n=2, temperature=0),
    _completion("n of 0", 400, n=0),
    _completion("more n than allowed", 400, n=100_000),
    _completion("a beam search", use_beam_search=True, n=3, temperature=0),
    _completion("several prompts", prompt=["The", "A", "An"]),
    _completion("token ids", prompt=[5, 6, 7]),
    _completion("an unknown token id", 400, prompt=[10**7]),
    _completion("an empty prompt", 400, prompt=""),
    _completion("suffix", 400, suffix="end"),
    _chat("stop", stop=["e", "\n"]),
    _chat("stop_token_ids", stop_token_ids=[5], include_stop_str_in_output=True),
    _chat("seed", seed=7, temperature=1.0),
    _chat("a seed that is not a number", 400, seed="seven"),
    _chat("penalties", frequency_penalty=2, presence_penalty=-2, repetition_penalty=1.5),
    _chat("a penalty beyond its range", 400, frequency_penalty=9),
    _chat("logit_bias", logit_bias={"5": 100, "6": -100}),
    _chat("logit_bias of an unknown token", 400, logit_bias={"99999999": 1}),
    _chat("min_p, top_k, top_p", min_p=0.1, top_k=5, top_p=0.5, temperature=0.9),
    _chat("top_p of 0", 400, top_p=0),
    _chat("a temperature below 0", 400, temperature=-1),
    _chat("the highest temperature", temperature=2),
    _chat("min_tokens, ignore_eos", min_tokens=4, ignore_eos=True),
    _chat("bad_words", bad_words=["group"]),
    _chat("allowed_token_ids", allowed_token_ids=[5, 6]),
    _chat("priority", priority=5),
    _chat("return_token_ids", return_token_ids=True),
    _chat("a stream with usage", stream=True, stream_options={"include_usage": True}),
    _chat("a stream with logprobs", stream=True, logprobs=True, top_logprobs=2),
    _chat("max_tokens of 0", 400, max_tokens=0),
    _chat("max_tokens beyond max_model_len", 400, max_tokens=100000),
    _chat("max_completion_tokens", max_completion_tokens=4),
    ("tools, auto", CHAT, TOOLS | {"tool_choice": "auto"}, 200),
    ("tools, none", CHAT, TOOLS | {"tool_choice": "none"}, 200),
    ("tools, named", CHAT, TOOLS | {"tool_choice": NAMED}, 200),
    ("tools, required", CHAT, TOOLS | {"tool_choice": "required"}, 200),
    (
        "tools, one that is not listed",
        CHAT,
        TOOLS | {"tool_choice": {"type": "function", "function": {"name": "no"}}},
        400,
    ),
    ("tools, in a stream", CHAT, TOOLS | {"tool_choice": "required", "stream": True}, 200),
    _chat("json_schema", response_format=SCHEMA, max_tokens=40),
    _chat("json_object", response_format={"type": "json_object"}, max_tokens=40),
    _chat(
        "an invalid schema",
        400,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 5}}},
    ),
    _chat("structured outputs, choice", structured_outputs={"choice": ["yes", "no"]}),
    _chat("structured outputs, regex", structured_outputs={"regex": "[a-z]{3}"}),
    _chat("structured outputs, json", structured_outputs={"json": WHO}, max_tokens=40),
    _chat("structured outputs, grammar", structured_outputs={"grammar": 'root ::= "yes" | "no"'}),
    _chat("a schema that nests too deeply", 400, structured_outputs={"json": DEEP}),
    _chat("an invalid regex", 400, structured_outputs={"regex": "(["}),
    _chat("two structures at once", 400, structured_outputs={"regex": "a", "choice": ["b"]}),
    _completion("a prompt beyond max_model_len", 400, prompt=WORDS),
    _completion("a prompt that fills the context", prompt=FULL),
    _completion("a prompt that fills the context, with its log-probabilities", prompt=FULL, prompt_logprobs=1),
    _completion("the beginning cut off", prompt=WORDS, truncate_prompt_tokens=64),
    _chat("messages beyond max_model_len", 400, messages=[{"role": "user", "content": WORDS}]),
    _chat("no messages", 400, messages=[]),
    _chat("messages of a wrong type", 400, messages="Hello"),
    _chat(
        "a picture",
        400,
        messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}],
    ),
    _chat("a template of its own", 400, chat_template="{{ 1 }}"),
    _completion("max_tokens of a wrong type", 400, max_tokens="many"),
    _completion("a prompt of a wrong type", 400, prompt={"text": "The"}),
    ("embeddings", "/v1/embeddings", {"input": "Hello"}, 404),
    ("scoring of tokens", "/generative_scoring", {"query": "a", "items": ["b"], "label_token_ids": [5, 6]}, 200),
    ("messages", "/v1/messages", HELLO, 200),
    ("score", "/score", {"text_1": "a", "text_2": "b"}, 404),
    ("responses", "/v1/responses", {"input": "Hello", "max_output_tokens": 8}, 200),
    ("tokenize", "/tokenize", {"prompt": "Hello"}, 200),
    ("tokenize a chat", "/tokenize", {"messages": HELLO["messages"]}, 200),
    ("detokenize", "/detokenize", {"tokens": [5, 6]}, 200),
    ("detokenize an invalid token", "/detokenize", {"tokens": [-1]}, 400),
]
