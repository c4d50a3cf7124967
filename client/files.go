package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"chancery/internal/folder"
	"chancery/internal/keys"
)

// record says, to people and to "chancery cert", who keeps the folder.
type record struct {
	Door   string `json:"door"`
	Server string `json:"server"`
}

// keptByProgram is the door of certificates that a Go program keeps.
const keptByProgram = "program"

// load reads the certificate in a directory; nil when there is none.
func load(dir string) (*Certificate, error) {
	if dir == "" {
		return nil, nil
	}
	f, err := folder.Open(dir, true)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := os.ReadFile(f.File(folder.FullchainFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read the certificate: %w", err)
	}
	chain, err := ParseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", f.File(folder.FullchainFile), err)
	}
	key, err := keys.ReadFile(f.File(folder.KeyFile))
	if err != nil {
		return nil, err
	}
	if !keys.Equal(chain[0].PublicKey, key.Public()) {
		return nil, fmt.Errorf("couldn't use %s: it is for another certificate", f.File(folder.KeyFile))
	}
	return &Certificate{Chain: chain, Key: key}, nil
}

// save writes a certificate into a directory.
func save(dir, server string, c *Certificate) error {
	if dir == "" {
		return nil
	}
	key, err := keys.Marshal(c.Key)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(record{keptByProgram, server}, "", "  ")
	if err != nil {
		return err
	}
	f, err := folder.Open(dir, true)
	if err != nil {
		return err
	}
	defer f.Close()
	leaf, above := &Certificate{Chain: c.Chain[:1]}, &Certificate{Chain: c.Chain[1:]}
	return f.Replace(map[string][]byte{
		folder.KeyFile: key, folder.CertFile: leaf.PEM(), folder.ChainFile: above.PEM(),
		folder.FullchainFile: c.PEM(), folder.RecordFile: append(text, '\n'),
	}, nil)
}
