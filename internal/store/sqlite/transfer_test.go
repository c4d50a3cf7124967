package sqlite

import "testing"

// TestIdentities checks that stores from before there were identities get one,
// each its own.
func TestIdentities(t *testing.T) {
	t.Parallel()
	path := fileOfVersion(t, 3, "")
	found := map[string]bool{}
	for _, p := range []string{path, path, fileOfVersion(t, 3, "")} {
		s, err := Open(t.Context(), Options{Path: p})
		if err != nil {
			t.Fatal(err)
		}
		id, err := s.Transfer().Identity(t.Context())
		if err != nil || len(id) != 32 {
			t.Errorf("the identity is %q: %v", id, err)
		}
		found[id] = true
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(found) != 2 {
		t.Errorf("two stores have the identities %v", found)
	}
}
