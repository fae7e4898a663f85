// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"

	kerrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"istio.io/istio/pilot/pkg/xds"
	v3 "istio.io/istio/pilot/pkg/xds/v3"
	"istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/test/util/yml"
)

// control is how a test changes the cluster while istiod runs, and sees what istiod told its clients of it:
//
//	PUT    /          Kubernetes resources as YAML: created, or put in place of those of the same name
//	DELETE /          the same, deleted; kind, name and namespace are enough
//	GET    /watchers  who asked for Workloads, as JSON
//	PUT    /tokens    the service accounts' tokens that are good from now on, as JSON: {"TOKEN": "NAMESPACE:NAME"}
type control struct {
	client    *fake.Clientset
	discovery *xds.DiscoveryServer
	tokens    *tokens
}

func (c control) serve(listener net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /", c.forEach(c.put))
	mux.HandleFunc("DELETE /", c.forEach(c.remove))
	mux.HandleFunc("GET /watchers", c.watchers)
	mux.HandleFunc("PUT /tokens", c.setTokens)
	return http.Serve(listener, mux)
}

// change does something with one resource.
type change func(k8stesting.ObjectTracker, schema.GroupVersionResource, runtime.Object) error

func (c control) forEach(each change) http.HandlerFunc {
	return func(answer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		for _, text := range yml.SplitString(string(body)) {
			if err != nil {
				break
			}
			var object runtime.Object
			var kind *schema.GroupVersionKind
			if object, kind, err = kube.IstioCodec.UniversalDeserializer().Decode([]byte(text), nil, nil); err == nil {
				resource, _ := meta.UnsafeGuessKindToResource(*kind)
				err = each(c.client.Tracker(), resource, object)
			}
		}
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
		}
	}
}

func (control) put(tracker k8stesting.ObjectTracker, resource schema.GroupVersionResource, object runtime.Object) error {
	about, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	err = tracker.Create(resource, object, about.GetNamespace())
	if kerrors.IsAlreadyExists(err) {
		return tracker.Update(resource, object, about.GetNamespace())
	}
	return err
}

func (control) remove(tracker k8stesting.ObjectTracker, resource schema.GroupVersionResource, object runtime.Object) error {
	about, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	return tracker.Delete(resource, about.GetNamespace(), about.GetName())
}

// watcher is one stream that asked for Workloads.
type watcher struct {
	Node  string `json:"node"`
	Sent  string `json:"sent"`
	Acked string `json:"acked"`
	Error string `json:"error"`
	// Whom istiod takes it for, by its certificate or token.
	Identity string `json:"identity"`
}

func (c control) watchers(answer http.ResponseWriter, _ *http.Request) {
	all := []watcher{}
	for _, connection := range c.discovery.AllClients() {
		proxy := connection.Proxy()
		watched, ok := proxy.DeepCloneWatchedResources()[v3.WorkloadType]
		if !ok {
			continue
		}
		one := watcher{Node: proxy.ID, Sent: watched.NonceSent, Acked: watched.NonceAcked, Error: watched.LastError}
		if proxy.VerifiedIdentity != nil {
			one.Identity = proxy.VerifiedIdentity.String()
		}
		all = append(all, one)
	}
	_ = json.NewEncoder(answer).Encode(all)
}

func (c control) setTokens(answer http.ResponseWriter, request *http.Request) {
	good := map[string]string{}
	if err := json.NewDecoder(request.Body).Decode(&good); err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	c.tokens.set(good)
}
