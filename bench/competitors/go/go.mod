module metadata_exchange

go 1.24.0

require (
	github.com/proxy-wasm/proxy-wasm-go-sdk v0.0.0-20250212164326-ab4161dcf924
	google.golang.org/protobuf v1.36.11
)
