// Chancery-key-pkcs11 holds keys for chancery that are in a PKCS#11 token: an
// HSM, a smart card, SoftHSM. It is a program and a module of its own because
// PKCS#11 modules are C libraries: the server stays free of C, and a module
// that crashes takes only this program along, which the server starts again.
//
// It is not for people to start. It reads requests from its standard input and
// writes answers to its standard output, as docs/key-helpers.md describes.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"chancery/internal/keyhelper/wire"
)

func main() {
	// The server ends this program by closing its standard input, after the
	// last signature: a signal to all of a service must not come before.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	store := new(store)
	err := wire.Serve(os.Stdin, os.Stdout, store)
	store.close()
	if err != nil {
		fmt.Fprintf(os.Stderr, "chancery-key-pkcs11: %v\n", err)
		os.Exit(1)
	}
}
