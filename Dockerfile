# A server for bundles/takecover on port 8000:  docker build -t dreamserve . && docker run -p 8000:8000 dreamserve
#
#   --build-arg DEVICE=cuda    onnxruntime-gpu and the CUDA libraries it needs, for docker run --gpus all
#   --build-arg VERSION=1.2.3 --build-arg REVISION=$(git rev-parse HEAD)    labels
#   --build-context python:3.11-slim-bookworm=docker-image://…    another base, such as a mirror's
#
# The default, DEVICE=cpu, takes plain onnxruntime: the CUDA libraries are several times the size of
# all the rest. Neither holds torch.

FROM python:3.11-slim-bookworm AS build
ARG DEVICE=cpu
ARG PIP_FIND_LINKS
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY constraints.txt deploy/image/cuda.txt ./
COPY protocol ./protocol
COPY service ./service
COPY clients/web ./clients/web
# The service asks for onnxruntime-gpu on this platform; an image for CPUs asks for the plain one.
RUN set -eu; case "$DEVICE" in \
        cpu) runtime='"onnxruntime>=1.20"' ;; \
        cuda) runtime='"onnxruntime-gpu[cuda,cudnn]>=1.20"' ;; \
        *) echo "DEVICE is cpu or cuda, not $DEVICE"; exit 1 ;; \
    esac; \
    sed -i -e '/"onnxruntime-gpu/d' -e "s/\"onnxruntime>=.*\"/$runtime/" service/pyproject.toml; \
    grep -qxF "    $runtime," service/pyproject.toml
# Compiled to bytecode once here, so that no start has to. What packages bring for their own tests, and
# onnxruntime for converting models, is left behind.
RUN python -m venv --without-pip /opt/dreamserve \
    && python -m pip --python /opt/dreamserve/bin/python install --quiet --constraint constraints.txt --constraint cuda.txt ./protocol './service[redis]' \
    && find /opt/dreamserve -type d \( -name tests -o -path '*/onnxruntime/transformers' -o -path '*/onnxruntime/tools' \
        -o -path '*/onnxruntime/quantization' \) -prune -exec rm -rf {} +

FROM python:3.11-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dreamserve" \
    org.opencontainers.image.description="Serves world models: stateful, batched dream sessions over HTTP" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION"
# /data is the only folder to write to, beside /tmp: a volume there keeps the file of a store.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin dreamserve \
    && install -d -o dreamserve -g dreamserve /data
# onnxruntime would report its use to its makers, and warn where it cannot keep an id for that.
ENV PATH=/opt/dreamserve/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 DREAMSERVE_HOST=0.0.0.0
WORKDIR /app
COPY --from=build /opt/dreamserve /opt/dreamserve
COPY bundles/takecover ./bundles/takecover
# Where DEVICE=cuda has put CUDA's libraries; for CPUs there are none.
RUN find /opt/dreamserve -type d -path '*/nvidia/*/lib' > /etc/ld.so.conf.d/dreamserve.conf && ldconfig
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["dreamserve", "health"]
ENTRYPOINT ["dreamserve"]
CMD ["serve", "bundles/takecover"]
