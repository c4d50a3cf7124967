package docs

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// unrun are the pages whose programs can't be run here, with the fields that
// these programs have, as far as the pages use them: those of cert-manager 1.x
// (its packages apis/acme/v1 and apis/certmanager/v1) and of Traefik 3. A * is a
// name of the reader's.
func unrun() map[string][]string {
	return map[string][]string{
		"docs/how-to/kubernetes.md": {
			"apiVersion", "kind", "metadata.name", "metadata.namespace",
			"spec.acme.server", "spec.acme.email", "spec.acme.caBundle", "spec.acme.privateKeySecretRef.name",
			"spec.acme.externalAccountBinding.keyID",
			"spec.acme.externalAccountBinding.keySecretRef.name", "spec.acme.externalAccountBinding.keySecretRef.key",
			"spec.acme.solvers.http01.ingress.ingressClassName",
			"type", "stringData.*",
			"spec.secretName", "spec.dnsNames", "spec.issuerRef.name", "spec.issuerRef.kind", "spec.issuerRef.group",
			"spec.privateKey.algorithm", "spec.privateKey.size", "spec.privateKey.rotationPolicy",
		},
		"docs/how-to/traefik.md": {
			"entryPoints.*.address", "providers.file.filename",
			"certificatesResolvers.*.acme.caServer", "certificatesResolvers.*.acme.email",
			"certificatesResolvers.*.acme.storage", "certificatesResolvers.*.acme.certificatesDuration",
			"certificatesResolvers.*.acme.eab.kid", "certificatesResolvers.*.acme.eab.hmacEncoded",
			"certificatesResolvers.*.acme.httpChallenge.entryPoint",
			"http.routers.*.rule", "http.routers.*.entryPoints", "http.routers.*.service",
			"http.routers.*.tls.certResolver", "http.services.*.loadBalancer.servers.url",
		},
	}
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestUnrun reads what these pages show, and holds each field against the list.
func TestUnrun(t *testing.T) {
	t.Parallel()
	for path, known := range unrun() {
		text := page(t, path)
		if !strings.Contains(strings.Join(strings.Fields(text), " "), "**This page is not run by our tests**") {
			t.Errorf("%s doesn't say that it is not run", path)
		}
		var used []string
		for _, block := range yamlBlock.FindAllStringSubmatch(text, -1) {
			used = append(used, documents(t, path, block[1])...)
		}
		for _, field := range used {
			if !slices.ContainsFunc(known, func(pattern string) bool { return matches(pattern, field) }) {
				t.Errorf("%s: there is no field %s", path, field)
			}
		}
		for _, pattern := range known {
			if !slices.ContainsFunc(used, func(field string) bool { return matches(pattern, field) }) {
				t.Errorf("%s no longer uses %s", path, pattern)
			}
		}
	}
}

// documents are the fields of all YAML documents in a block.
func documents(t *testing.T, path, block string) (used []string) {
	t.Helper()
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(block)))
	for {
		var document map[string]any
		switch err := decoder.Decode(&document); {
		case errors.Is(err, io.EOF):
			return used
		case err != nil:
			t.Fatalf("%s: %v", path, err)
		}
		used = append(used, fields("", document)...)
	}
}

// fields are the paths of the values in a document; lists are as their members.
func fields(prefix string, value any) (paths []string) {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			paths = append(paths, fields(prefix+"."+name, member)...)
		}
	case []any:
		for _, member := range value {
			paths = append(paths, fields(prefix, member)...)
		}
	default:
		paths = []string{strings.TrimPrefix(prefix, ".")}
	}
	return paths
}

func matches(pattern, field string) bool {
	want, have := strings.Split(pattern, "."), strings.Split(field, ".")
	return slices.EqualFunc(want, have, func(w, h string) bool { return w == "*" || w == h })
}
