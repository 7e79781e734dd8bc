# An image with one version of the fake engine, laid out like vllm/vllm-openai.
#   docker build --build-arg BASE=a-Debian --build-arg VERSION=0.33.0-lab --file lab/fake/engine.Dockerfile lab/fake
ARG BASE
FROM ${BASE}
RUN apt-get update --quiet \
 && DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends python3 \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
ENV LAB_IMAGE=1
ARG VERSION
ARG NOTE=
COPY vllm api.py engine.py text.py /opt/lab-engines/${VERSION}/bin/
RUN chmod 755 /opt/lab-engines/${VERSION}/bin/vllm \
 && ln -s /opt/lab-engines/${VERSION}/bin/vllm /usr/local/bin/vllm \
 && echo "${NOTE}" >/opt/lab-engines/${VERSION}/note
