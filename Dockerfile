# fl-bench in a container, with the versions that the published results were made with.
#
#   docker build -t fl-bench .                                   for NVIDIA GPUs, and CPUs
#   docker build -t fl-bench --build-arg TORCH_INDEX=URL .       for CPUs alone, some gigabytes smaller
#   docker run --rm -v "$PWD:/work" fl-bench run --methods cosmos,fedmd
#   docker run --rm --gpus all -v "$PWD:/work" fl-bench doctor
#
# URL is the package index of CPU builds that PyTorch's installation page names. Without it torch comes from where pip
# finds everything else: builds for Linux there hold CUDA. Results belong to the user with the number in UID.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

ARG TORCH_INDEX=""
ARG UID=1000
RUN useradd --create-home --uid "${UID}" bench

WORKDIR /opt/fl-bench
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} torch torchvision

COPY pyproject.toml README.md LICENSE ./
COPY fl_bench ./fl_bench
COPY datasets ./datasets
COPY federation ./federation
COPY methods ./methods
COPY cosmos ./cosmos
COPY benchmarks ./benchmarks
RUN pip install --no-cache-dir --constraint constraints.txt ".[hf,plots,r,tune]"

WORKDIR /work
RUN chown bench /work
USER bench
ENTRYPOINT ["fl-bench"]
CMD ["--help"]
