package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"chancery/internal/keyhelper/wire"
)

// source gets credentials and when they end; the zero time is never.
type source func(ctx context.Context) (credentials, time.Time, error)

// findCredentials chooses where credentials come from: the first place that
// there is, in the order in which AWS's own tools look.
func findCredentials(env environment, region string) (source, error) {
	file, profile := sharedFile(env)
	_, missing := os.Stat(file)
	switch {
	case env.get("AWS_ACCESS_KEY_ID") != "":
		return fromEnvironment(env)
	case env.get("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		return fromWebIdentity(env, region)
	case file != "" && missing == nil, env.get("AWS_PROFILE") != "":
		return func(context.Context) (credentials, time.Time, error) { return fromFile(file, profile) }, nil
	case env.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "", env.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "":
		return fromContainer(env)
	case !strings.EqualFold(env.get("AWS_EC2_METADATA_DISABLED"), "true"):
		return fromInstance(env)
	}
	return nil, errors.New("there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, write them into ~/.aws/credentials, or give the machine a role")
}

func fromEnvironment(env environment) (source, error) {
	found := credentials{env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY"), env.get("AWS_SESSION_TOKEN")}
	if found.secret == "" {
		return nil, errors.New("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not")
	}
	return func(context.Context) (credentials, time.Time, error) { return found, time.Time{}, nil }, nil
}

// sharedFile is the credentials file of AWS's tools, and the profile to use.
func sharedFile(env environment) (path, profile string) {
	path, profile = env.get("AWS_SHARED_CREDENTIALS_FILE"), env.get("AWS_PROFILE")
	if home := env.get("HOME"); path == "" && home != "" {
		path = filepath.Join(home, ".aws", "credentials")
	}
	if profile == "" {
		profile = "default"
	}
	return path, profile
}

// fromFile reads a profile. The file is read again when the service refuses
// what was in it.
func fromFile(path, profile string) (found credentials, ends time.Time, err error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return found, ends, wire.Errorf(wire.Refused, "there is no file %s with AWS credentials", path)
	}
	if err != nil {
		return found, ends, wire.Errorf(wire.Refused, "couldn't read AWS credentials: %v", err)
	}
	if found, err = parseProfile(content, profile); err != nil {
		return found, ends, wire.Errorf(wire.Refused, "couldn't use the AWS credentials in %s: %v", path, err)
	}
	return found, ends, nil
}

// parseProfile reads the section [profile] of a credentials file.
func parseProfile(content []byte, profile string) (found credentials, err error) {
	section, there := "", false
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if name, ok := strings.CutPrefix(line, "["); ok {
			section, _, _ = strings.Cut(name, "]")
			section = strings.TrimSpace(section)
			there = there || section == profile
			continue
		}
		name, value, isSetting := strings.Cut(line, "=")
		if section != profile || !isSetting || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "aws_access_key_id":
			found.id = value
		case "aws_secret_access_key":
			found.secret = value
		case "aws_session_token":
			found.token = value
		}
	}
	switch {
	case lines.Err() != nil:
		return found, lines.Err()
	case !there:
		return found, fmt.Errorf("there is no profile [%s]", profile)
	case found.id == "" || found.secret == "":
		return found, fmt.Errorf("the profile [%s] has no aws_access_key_id with an aws_secret_access_key; other kinds of profiles are not supported", profile)
	}
	return found, nil
}
