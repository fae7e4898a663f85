// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

// validate says what a cluster with Istio would say of the resources on standard input: the schemas of Istio's CRDs, with
// their CEL rules and without unknown fields, Istio's validating webhook, and Kubernetes' own types. Istio's warnings count
// as errors. What has no kind is a part of the mesh configuration.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/manifests"
	"istio.io/istio/pilot/pkg/config/kube/crd"
	schemas "istio.io/istio/pkg/config/crd"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/resource"
	"istio.io/istio/pkg/test/util/yml"
	"istio.io/istio/pkg/util/protomarshal"
)

func main() {
	input, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = validateAll(string(input))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func validateAll(input string) error {
	validator, err := istioSchemas()
	if err != nil {
		return err
	}
	var all []error
	for _, text := range yml.SplitString(input) {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
			return err
		}
		if len(object.Object) == 0 {
			continue
		}
		if object.GetKind() == "" {
			if err := meshConfig(text); err != nil {
				all = append(all, fmt.Errorf("mesh configuration: %w", err))
			}
			continue
		}
		if err := validate(validator, object, text); err != nil {
			all = append(all, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err))
		}
	}
	return errors.Join(all...)
}

func validate(validator *schemas.Validator, object *unstructured.Unstructured, text string) error {
	kind := object.GroupVersionKind()
	schema, isIstio := collections.PilotGatewayAPI().FindByGroupVersionAliasesKind(resource.FromKubernetesGVK(&kind))
	if !isIstio {
		if !strings.Contains(kind.Group, ".istio.io") {
			return decode(text)
		}
		return fmt.Errorf("Istio has no %s", kind)
	}
	// The schema's defaults are filled into what it is given.
	if err := validator.ValidateCustomResource(object.DeepCopy()); err != nil {
		return err
	}
	configs, _, err := crd.ParseInputs(text)
	if err != nil {
		return err
	}
	for _, config := range configs {
		warning, err := schema.ValidateConfig(config)
		if err != nil {
			return err
		}
		// Every EnvoyFilter is warned of, for being one.
		if warning != nil && !strings.HasPrefix(warning.Error(), "EnvoyFilter exposes internal implementation details") {
			return warning
		}
	}
	return nil
}

// meshConfig takes a part of the mesh configuration, without fields that Istio would overlook.
func meshConfig(text string) error {
	if err := protomarshal.ApplyYAMLStrict(text, &meshconfig.MeshConfig{}); err != nil {
		return err
	}
	_, err := mesh.ApplyMeshConfigDefaults(text)
	return err
}

// decode takes a resource of Kubernetes itself, without unknown or repeated fields.
func decode(text string) error {
	codecs := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict)
	_, _, err := codecs.UniversalDeserializer().Decode([]byte(text), nil, nil)
	return err
}

// istioSchemas are the CRDs that Istio's own chart installs.
func istioSchemas() (*schemas.Validator, error) {
	crds, err := manifests.FS.ReadFile("charts/base/files/crd-all.gen.yaml")
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "crds-*.yaml")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(crds); err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	return schemas.NewValidatorFromFilesWithOptions([]string{file.Name()}, schemas.WithoutCRDValidation())
}
