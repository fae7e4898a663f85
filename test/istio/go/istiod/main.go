// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

// istiod is Istio's own discovery server with a Kubernetes client in memory: it reads resources, Istio's and Kubernetes'
// mixed, from standard input, says the address at which it serves xDS without TLS, and serves until it is killed. Before
// that it says where it takes changes (`control ADDRESS`), and where it serves xDS with TLS (`secure ADDRESS`), if it is
// given a certificate.
//
//	istiod [-xds ADDRESS] [-secure ADDRESS -certificate FILE -key FILE -root FILE [-age DURATION]]
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"

	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/cluster"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/mesh/meshwatcher"
	"istio.io/istio/pkg/security"
	"istio.io/istio/pkg/test"
	"istio.io/istio/pkg/test/util/yml"
	"istio.io/istio/security/pkg/server/ca/authenticate"
	"istio.io/istio/security/pkg/server/ca/authenticate/kubeauth"
)

var (
	xdsAddress    = flag.String("xds", "127.0.0.1:0", "where it serves xDS without TLS")
	secureAddress = flag.String("secure", "127.0.0.1:0", "where it serves xDS with TLS")
	certificate   = flag.String("certificate", "", "file with its certificate; without this it serves nothing with TLS")
	key           = flag.String("key", "", "file with the certificate's key")
	age           = flag.Duration("age", 0, "how long a connection with TLS lives, and as long again while it is asked to end")
	root          = flag.String("root", "", "file with the certificate of those who issue its clients' certificates")
)

func main() {
	flag.Parse()
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
	listener, err := net.Listen("tcp", *xdsAddress)
	if err != nil {
		return err
	}
	changes, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	options.ListenerBuilder = func() (net.Listener, error) { return listener, nil }
	options.DisableSecretAuthorization = true
	// Pull secrets go only to proxies that proved who they are. Without TLS all did, and need no tokens.
	security.AuthPlaintext = true
	return test.Wrap(func(t test.Failer) {
		server := xds.NewFakeDiscoveryServer(t, options)
		client := server.KubeClient().Kube().(*fake.Clientset)
		reviews := &tokens{}
		client.PrependReactor("create", "tokenreviews", reviews.review)
		watcher := meshwatcher.NewTestWatcher(mesh.DefaultMeshConfig())
		server.Discovery.Authenticators = []security.Authenticator{
			anybody(identities),
			&authenticate.ClientCertAuthenticator{},
			kubeauth.NewKubeJWTAuthenticator(watcher, client, cluster.ID("Kubernetes"), nil, nil),
		}
		go func() { t.Fatal(control{client, server.Discovery, reviews}.serve(changes)) }()
		fmt.Println("control", changes.Addr())
		if *certificate != "" {
			if err := serveSecure(server); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Println(listener.Addr())
		select {}
	})
}

func serveSecure(server *xds.FakeDiscoveryServer) error {
	listener, err := net.Listen("tcp", *secureAddress)
	if err != nil {
		return err
	}
	secure, err := secureServer(*certificate, *key, *root)
	if err != nil {
		return err
	}
	server.Discovery.Register(secure)
	go func() { server.T().Fatal(secure.Serve(listener)) }()
	fmt.Println("secure", listener.Addr())
	return nil
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
