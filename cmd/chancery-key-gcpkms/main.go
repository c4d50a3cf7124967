// Chancery-key-gcpkms holds keys for chancery that are in Google Cloud Key
// Management Service. It is a program of its own so that the server neither
// speaks the protocols of clouds nor has their credentials in its memory.
//
// It is not for people to start. It reads requests from its standard input and
// writes answers to its standard output, as docs/key-helpers.md describes.
package main

import (
	"os"
	"time"

	"chancery/internal/cloudkms"
)

func main() {
	os.Exit(cloudkms.Main("chancery-key-gcpkms", func(uri string) (cloudkms.Key, error) {
		return findKey(uri, environment{get: os.Getenv, now: time.Now})
	}))
}

// environment is what there is around the process.
type environment struct {
	get func(name string) string
	now func() time.Time
}
