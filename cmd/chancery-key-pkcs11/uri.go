package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// keyURI is what a PKCS#11 URI (RFC 7512) says of a token and a key in it.
// Empty fields match anything.
type keyURI struct {
	token, serial, manufacturer, model string
	slot                               *uint
	object                             string // CKA_LABEL
	id                                 []byte // CKA_ID
	module                             string // path of the library
}

// parseURI reads a URI strictly: an attribute that is not understood could be
// one that tells the right key from a wrong one.
func parseURI(text string) (uri keyURI, err error) {
	rest, ok := strings.CutPrefix(text, "pkcs11:")
	if !ok {
		return uri, errors.New("the key is no URI like pkcs11:token=ca;object=issuing")
	}
	path, query, _ := strings.Cut(rest, "?")
	seen := map[string]bool{}
	for attribute := range strings.SplitSeq(path, ";") {
		if err := uri.setPath(attribute, seen); err != nil {
			return uri, err
		}
	}
	for attribute := range strings.SplitSeq(query, "&") {
		if err := uri.setQuery(attribute); err != nil {
			return uri, err
		}
	}
	switch {
	case uri.module == "":
		return uri, errors.New("the key's URI does not say which library to load; add ?module-path=/usr/lib/…")
	case uri.object == "" && uri.id == nil:
		return uri, errors.New("the key's URI names no key; add object=LABEL or id=%01")
	case uri.token == "" && uri.serial == "" && uri.slot == nil:
		return uri, errors.New("the key's URI names no token; add token=LABEL or serial=NUMBER")
	}
	return uri, nil
}

func (u *keyURI) setPath(attribute string, seen map[string]bool) error {
	if attribute == "" {
		return nil
	}
	name, value, ok := strings.Cut(attribute, "=")
	decoded, err := url.PathUnescape(value)
	switch {
	case !ok || err != nil:
		return fmt.Errorf("the key's URI has %.60q, which is no NAME=VALUE with %%XX for what is special", attribute)
	case seen[name]:
		return fmt.Errorf("the key's URI has %s twice", name)
	}
	seen[name] = true
	switch name {
	case "token":
		u.token = decoded
	case "serial":
		u.serial = decoded
	case "manufacturer":
		u.manufacturer = decoded
	case "model":
		u.model = decoded
	case "object":
		u.object = decoded
	case "id":
		u.id = []byte(decoded)
	case "slot-id":
		number, err := strconv.ParseUint(decoded, 10, 32)
		if err != nil {
			return fmt.Errorf("the slot-id %.20q in the key's URI is no number", decoded)
		}
		slot := uint(number)
		u.slot = &slot
	case "type":
		if decoded != "private" && decoded != "public" {
			return fmt.Errorf("the key's URI is of type %.20q; only type=private is of use", decoded)
		}
	default:
		return fmt.Errorf("the attribute %.40q of the key's URI is not supported", name)
	}
	return nil
}

func (u *keyURI) setQuery(attribute string) error {
	if attribute == "" {
		return nil
	}
	name, value, _ := strings.Cut(attribute, "=")
	decoded, err := url.PathUnescape(value)
	if err != nil {
		return fmt.Errorf("the %.40s in the key's URI is badly escaped", name)
	}
	switch name {
	case "module-path":
		u.module = decoded
	case "pin-source": // read by the server, who sends the PIN
	default:
		return fmt.Errorf("the attribute %.40q of the key's URI is not supported", name)
	}
	return nil
}

// key names the key for people.
func (u *keyURI) key() string {
	if u.object != "" {
		return strconv.Quote(u.object)
	}
	return "id " + hex.EncodeToString(u.id)
}
