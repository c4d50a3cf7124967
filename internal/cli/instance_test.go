package cli_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// metadataService starts one that answers as those of the clouds do, with what
// is in the files aws, gcp and azure of the script, and returns its URL.
func metadataService(env *testscript.Env) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, file := r.URL.Query(), ""
		switch r.Method + " " + r.URL.Path {
		case "PUT /latest/api/token":
			fmt.Fprint(w, "session")
			return
		case "GET /latest/dynamic/instance-identity/rsa2048":
			file = "aws"
		case "GET /computeMetadata/v1/instance/service-accounts/default/identity":
			file = "gcp"
		case "GET /metadata/identity/oauth2/token":
			file = "azure"
		}
		text, err := os.ReadFile(filepath.Join(env.WorkDir, file))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		if file == "azure" {
			fmt.Fprintf(w, `{"access_token":%q,"resource":%q}`, strings.TrimSpace(string(text)), query.Get("resource"))
			return
		}
		_, _ = w.Write(text)
	}))
	env.Defer(server.Close)
	return server.URL
}
