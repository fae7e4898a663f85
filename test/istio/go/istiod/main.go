// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

// istiod is Istio's own discovery server with a Kubernetes client in memory: it reads resources, Istio's and Kubernetes'
// mixed, from standard input, says the address at which it serves xDS without TLS, and serves until it is killed.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/security"
	"istio.io/istio/pkg/test"
	"istio.io/istio/pkg/test/util/yml"
)

func main() {
	input, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = serve(string(input))
	}
	fmt.Fprintln(os.Stderr, "istiod:", err)
	os.Exit(1)
}

func serve(input string) error {
	options, identities, err := sorted(input)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	options.ListenerBuilder = func() (net.Listener, error) { return listener, nil }
	options.DisableSecretAuthorization = true
	// Pull secrets go only to proxies that proved who they are. Here all do, without TLS and without tokens.
	security.AuthPlaintext = true
	return test.Wrap(func(t test.Failer) {
		server := xds.NewFakeDiscoveryServer(t, options)
		server.Discovery.Authenticators = []security.Authenticator{anybody(identities)}
		fmt.Println(listener.Addr())
		select {}
	})
}

// sorted puts each resource where the discovery server looks for it, and says whom its service accounts stand for.
// The mesh configuration is in the ConfigMap `istio`, as in a cluster.
func sorted(input string) (options xds.FakeOptions, identities []string, err error) {
	var istio, kubernetes []string
	for _, text := range yml.SplitString(input) {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), object); err != nil {
			return options, nil, err
		}
		switch {
		case object.GetKind() == "ConfigMap" && object.GetName() == "istio":
			text, _, _ := unstructured.NestedString(object.Object, "data", "mesh")
			if options.MeshConfig, err = mesh.ApplyMeshConfigDefaults(text); err != nil {
				return options, nil, err
			}
		case strings.HasSuffix(object.GroupVersionKind().Group, ".istio.io"):
			istio = append(istio, text)
		case len(object.Object) > 0:
			kubernetes = append(kubernetes, text)
		}
		if object.GetKind() == "ServiceAccount" {
			identities = append(identities, "spiffe://cluster.local/ns/"+object.GetNamespace()+"/sa/"+object.GetName())
		}
	}
	options.ConfigString = strings.Join(istio, "\n---\n")
	options.KubernetesObjectString = strings.Join(kubernetes, "\n---\n")
	return options, identities, nil
}

// anybody takes whoever connects for all of these identities.
type anybody []string

func (identities anybody) Authenticate(security.AuthContext) (*security.Caller, error) {
	return &security.Caller{Identities: identities}, nil
}

func (identities anybody) AuthenticatorType() string { return "anybody" }
