package cli

import "testing"

func TestExampleName(t *testing.T) {
	for directory, want := range map[string]string{
		"https://127.0.0.1:9443/acme/directory":       "localhost",
		"https://[::1]:9443/acme/directory":           "localhost",
		"https://localhost:9443/acme/directory":       "localhost",
		"https://ca.corp.example:9443/acme/directory": "ca.corp.example",
	} {
		if got := exampleName(directory); got != want {
			t.Errorf("%s: %s, want %s", directory, got, want)
		}
	}
}

// Caddy knows no single quotes: "caddy adapt" takes them for part of the path.
func TestCaddyWord(t *testing.T) {
	for path, want := range map[string]string{
		"/var/lib/chancery/root.pem": "/var/lib/chancery/root.pem",
		"/home/my ca/root.pem":       `"/home/my ca/root.pem"`,
		"/home/o'hara/root.pem":      `"/home/o'hara/root.pem"`,
		`/home/"ca"/root.pem`:        `"/home/\"ca\"/root.pem"`,
	} {
		if got := caddyWord(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestShellWord(t *testing.T) {
	for path, want := range map[string]string{
		"/var/lib/chancery/root.pem": "/var/lib/chancery/root.pem",
		"/home/my ca/root.pem":       "'/home/my ca/root.pem'",
		"/home/o'hara/root.pem":      `'/home/o'\''hara/root.pem'`,
	} {
		if got := shellWord(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}
