package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"chancery/internal/admin"
	"chancery/internal/inventory"
)

// TestConfirmRevocation: an operator who says no revokes nothing, and one who
// says yes nothing that was issued since the question.
func TestConfirmRevocation(t *testing.T) {
	asOf := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	client := admin.InProcess(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var wish admin.BulkRevocation
		if err := json.NewDecoder(r.Body).Decode(&wish); err != nil || !wish.DryRun {
			t.Errorf("asked for %+v: %v", wish, err)
		}
		answer := admin.BulkRevoked{AsOf: asOf, DryRun: true, Certificates: []admin.Certificate{{Serial: "01"}, {Serial: "02"}}, Count: 2}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}), func() error { return nil })
	t.Cleanup(func() { _ = client.Close() })
	for answer, agreed := range map[string]bool{"y\n": true, "Yes\n": true, "\n": false, "": false, "no\n": false, "yesterday\n": false} {
		var asked bytes.Buffer
		a := &app{Env: Env{In: strings.NewReader(answer), Err: &asked}}
		wish := admin.BulkRevocation{Query: inventory.Query{Name: "*.old.corp"}}
		err := a.confirmRevocation(t.Context(), client, &wish)
		if (err == nil) != agreed || asked.String() != "Revoke 2 certificates? [y/N] " || !wish.Query.IssuedBefore.Equal(asOf) || wish.DryRun {
			t.Errorf("%q: %v, %q, %+v", answer, err, asked.String(), wish)
		}
	}
}
