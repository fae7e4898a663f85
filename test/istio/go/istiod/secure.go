// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	authentication "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"

	istiogrpc "istio.io/istio/pilot/pkg/grpc"
	"istio.io/istio/pkg/keepalive"
	"istio.io/istio/pkg/security"
)

// secureServer is what istiod has on port 15012: TLS, with a client's certificate or without, and Istio's own settings
// for keepalive.
func secureServer(certificate, key, root string) (*grpc.Server, error) {
	own, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(root)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New(root + ": no certificate")
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.VerifyClientCertIfGiven,
		ClientCAs:    roots,
		MinVersion:   tls.VersionTLS12,
	}
	settings := keepalive.DefaultOption()
	if *age > 0 {
		settings.MaxServerConnectionAge = *age
		settings.MaxServerConnectionAgeGrace = *age
	}
	options := istiogrpc.ServerOptions(settings, func(int64) {})
	return grpc.NewServer(append(options, grpc.Creds(credentials.NewTLS(config)))...), nil
}

// anybody takes whoever connects without TLS for all of these identities.
type anybody []string

func (identities anybody) Authenticate(context security.AuthContext) (*security.Caller, error) {
	from, ok := peer.FromContext(context.GrpcContext)
	if ok {
		if _, isTLS := from.AuthInfo.(credentials.TLSInfo); isTLS {
			return nil, errors.New("on the secure port everybody must prove who they are")
		}
	}
	return &security.Caller{Identities: identities}, nil
}

func (identities anybody) AuthenticatorType() string { return "anybody" }

// tokens answers TokenReviews in place of a kube-apiserver.
type tokens struct {
	lock sync.Mutex
	good map[string]string
}

func (t *tokens) set(good map[string]string) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.good = good
}

func (t *tokens) review(action k8stesting.Action) (bool, runtime.Object, error) {
	review := action.(k8stesting.CreateAction).GetObject().(*authentication.TokenReview).DeepCopy()
	t.lock.Lock()
	account, ok := t.good[review.Spec.Token]
	t.lock.Unlock()
	if ok && len(review.Spec.Audiences) > 0 {
		namespace, _, _ := strings.Cut(account, ":")
		review.Status.Authenticated = true
		review.Status.Audiences = review.Spec.Audiences
		review.Status.User.Username = "system:serviceaccount:" + account
		review.Status.User.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace}
	}
	return true, review, nil
}
