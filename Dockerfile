# A server for bundles/takecover on port 8000:  docker build -t dreamserve . && docker run -p 8000:8000 dreamserve
#
# For CPUs: plain onnxruntime instead of onnxruntime-gpu, whose CUDA libraries are several times the
# size of all the rest and would never be used here.

FROM python:3.11-slim AS build
ARG PIP_FIND_LINKS
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY constraints.txt ./
COPY protocol ./protocol
COPY service ./service
COPY clients/web ./clients/web
RUN sed -i -e '/"onnxruntime-gpu/d' -e 's/"onnxruntime>=\([0-9.]*\);.*"/"onnxruntime>=\1"/' service/pyproject.toml \
    && grep -q '^ *"onnxruntime>=[0-9.]*",$' service/pyproject.toml && ! grep -q '"onnxruntime-gpu' service/pyproject.toml
# Compiled to bytecode once here, so that no start has to. What packages bring for their own tests, and
# onnxruntime for converting models, is left behind.
RUN python -m venv --without-pip /opt/dreamserve \
    && python -m pip --python /opt/dreamserve/bin/python install --quiet --constraint constraints.txt ./protocol ./service \
    && find /opt/dreamserve -type d \( -name tests -o -path '*/onnxruntime/transformers' -o -path '*/onnxruntime/tools' \
        -o -path '*/onnxruntime/quantization' \) -prune -exec rm -rf {} +

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin dreamserve
ENV PATH=/opt/dreamserve/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY --from=build /opt/dreamserve /opt/dreamserve
COPY bundles/takecover ./bundles/takecover
USER dreamserve
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["dreamserve"]
CMD ["serve", "bundles/takecover", "--host", "0.0.0.0", "--port", "8000"]
