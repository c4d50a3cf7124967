package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// storeKey is the section that can be written as plain text, too.
const storeKey = "store"

// embedded is the plain text for the store in a file of the directory.
const embedded = "sqlite"

// isText reports whether a node is a text.
func isText(node ast.Node) bool {
	_, ok := node.(*ast.StringNode)
	return ok
}

// setStore sets the section from its plain text.
func (l *loader) setStore(text string, from source) {
	l.config.sources[storeKey+".url"] = from
	l.config.Store.URL = strings.TrimSpace(text)
	if l.config.Store.URL == embedded {
		l.config.Store.URL = ""
	}
}

// checkStore refuses a password in the URL, which would be shown with the
// other settings. The URL itself is in none of the messages.
func (l *loader) checkStore() {
	const key = "store.url"
	s := l.config.Store
	if s.URL == "" {
		if s.PasswordFile != "" {
			l.mistake("store.password_file", "there is no store.url that it is for; set that, or remove this")
		}
		if s.Partition != 0 {
			l.mistake("store.partition", "only a database that store.url names has partitions; set that, or remove this")
		}
		return
	}
	if s.Partition != 0 && s.Partition.Std() < time.Hour {
		l.mistake("store.partition", "that would be very many tables; write 1h or more, as in 30d")
	}
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		l.mistake(key, "it is not the URL of a PostgreSQL database; write it as postgres://USER@HOST/DATABASE, or sqlite for the one in the directory")
		return
	}
	if _, secret := u.User.Password(); secret || u.Query().Has("password") {
		l.mistake(key, "it has a password in it, which everybody who sees the settings would see; put that into a file and name it in store.password_file")
	}
}

// What a secret is recognized by, wherever it was written.
var (
	// The password of a URL is all between the user's colon and the last "@".
	urlPassword = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://[^:@/?\s]*:).*@`)
	// Where the "@" was cut off, it is what is no port.
	cutPassword = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://[^:@/?\s]+:)([^0-9@/][^@]*|[0-9]+[^0-9@/?"'\s,}\]][^@]*)$`)
	parameter   = regexp.MustCompile(`(?i)(password(?:=|%3d)\s*)[^&\s"']+`)
)

// withoutSecrets hides passwords of databases in what is shown of a mistake.
func withoutSecrets(text string) string {
	text = urlPassword.ReplaceAllString(text, "$1***@")
	text = cutPassword.ReplaceAllString(text, "$1***")
	return parameter.ReplaceAllString(text, "$1***")
}

// ownSettings are those in which the nodes of one CA may differ: where they
// listen, how they log, how they reach the store. URLs are compared apart.
var ownSettings = []string{
	"listen", "http_listen", "metrics_listen", "names", "external_url", "max_connections", "shutdown_timeout", "log", storeKey, "node",
}

// SharedSettings are hashes, by section, of what was set that should be equal on
// all nodes of a CA.
func (c *Config) SharedSettings() map[string]string {
	texts, usual := map[string]string{}, defaults().byKey()
	for _, setting := range c.Settings() {
		section, _, _ := strings.Cut(setting.Key, ".")
		if slices.Contains(ownSettings, section) {
			continue
		}
		texts[section] += "" // all sections are there
		if setting.Source == (source{}).String() || setting.Value == usual[setting.Key].Value {
			continue // versions may have other defaults
		}
		texts[section] += fmt.Sprintf("%q=%q\n", setting.Key, setting.Value)
	}
	for section, text := range texts {
		sum := sha256.Sum256([]byte(text))
		texts[section] = hex.EncodeToString(sum[:4])
	}
	return texts
}
