// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

// registry is the CNCF Distribution registry, which also stands behind the image `registry` of Docker's, with what the
// tests need of it: folders as storage, and passwords.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if err := registry.RootCmd.Execute(); err != nil {
		os.Exit(1)
	}
}
