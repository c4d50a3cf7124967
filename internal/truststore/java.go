package truststore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// javaPassword is that of every Java's cacerts; it keeps nobody out.
const javaPassword = "changeit"

// Java is the store of the Java that JavaHome or the path leads to, version 9
// or later. The error wraps ErrAbsent when there is none.
func (h Host) Java() (Store, error) {
	if h.JavaHome != "" {
		program := filepath.Join(h.JavaHome, "bin", "keytool")
		if _, err := os.Stat(program); err == nil {
			return &java{h, program}, nil
		}
	}
	program, err := h.LookPath("keytool")
	if err != nil {
		return nil, fmt.Errorf("the store of Java: %w: keytool is neither in JAVA_HOME nor in PATH", ErrAbsent)
	}
	return &java{h, program}, nil
}

type java struct {
	Host
	program string
}

func (j *java) Name() string { return "java" }

func (j *java) keytool(ctx context.Context, root *Root, args ...string) error {
	_, err := j.Run(ctx, j.program, append(args, "-cacerts", "-storepass", javaPassword, "-alias", root.name())...)
	return err
}

func (j *java) has(ctx context.Context, root *Root) bool {
	return j.keytool(ctx, root, "-list") == nil
}

func (j *java) Install(ctx context.Context, root *Root) (bool, error) {
	if j.has(ctx, root) {
		return false, nil
	}
	err := root.withFile(func(path string) error {
		return j.keytool(ctx, root, "-importcert", "-noprompt", "-trustcacerts", "-file", path)
	})
	return err == nil, err
}

func (j *java) Uninstall(ctx context.Context, root *Root) (bool, error) {
	if !j.has(ctx, root) {
		return false, nil
	}
	err := j.keytool(ctx, root, "-delete", "-noprompt")
	return err == nil, err
}
