# The image has one static binary, no shell, and runs as an unprivileged user
# that may still bind ports 53 and 443: the file has the one capability for it.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/cnamed ./cmd/cnamed \
 && apt-get update && apt-get install -y --no-install-recommends libcap2-bin \
 && setcap cap_net_bind_service=+ep /out/cnamed \
 && mkdir -m 0700 /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/cnamed /cnamed
COPY --from=build --chown=10053:10053 /out/data /data
USER 10053:10053
ENV CNAMED_DATA=/data
VOLUME /data
EXPOSE 53/udp 53/tcp 443/tcp
HEALTHCHECK --interval=30s --timeout=6s --start-period=60s CMD ["/cnamed", "health"]
ENTRYPOINT ["/cnamed"]
CMD ["serve"]
