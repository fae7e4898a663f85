// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

// fetch gets a Wasm module the way Istio's agent does, with the agent's own code, and writes it to standard output.
//
//	fetch [-sha256 HEX] [-pull-secret FILE] oci://... | http://...
package main

import (
	"flag"
	"log"
	"os"
	"time"

	istiolog "istio.io/istio/pkg/log"
	"istio.io/istio/pkg/wasm"
)

func main() {
	sha256 := flag.String("sha256", "", "what the WasmPlugin says in its sha256: of a manifest for oci://, of the module for http://")
	pullSecret := flag.String("pull-secret", "", "file with a .dockerconfigjson, as in the Secret that imagePullSecret names")
	flag.Parse()
	log.SetFlags(0)
	if flag.NArg() != 1 {
		log.Fatal("fetch: one URL is needed")
	}

	// Standard output is for the module alone.
	options := istiolog.DefaultOptions()
	options.OutputPaths = []string{"stderr"}
	check(istiolog.Configure(options))

	var secret []byte
	if *pullSecret != "" {
		var err error
		secret, err = os.ReadFile(*pullSecret)
		check(err)
	}
	folder, err := os.MkdirTemp("", "fetch-")
	check(err)
	module, err := get(folder, flag.Arg(0), wasm.GetOptions{
		Checksum:        *sha256,
		ResourceName:    "default.metadata-exchange",
		ResourceVersion: "1",
		RequestTimeout:  time.Minute,
		PullSecret:      secret,
		PullPolicy:      wasm.Always,
	})
	check(os.RemoveAll(folder))
	check(err)
	_, err = os.Stdout.Write(module)
	check(err)
}

func get(folder, url string, options wasm.GetOptions) ([]byte, error) {
	cache := wasm.NewLocalFileCache(folder, wasm.Options{HTTPRequestMaxRetries: 1})
	defer cache.Cleanup()
	path, err := cache.Get(url, options)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

func check(err error) {
	if err != nil {
		log.Fatalf("fetch: %v", err)
	}
}
