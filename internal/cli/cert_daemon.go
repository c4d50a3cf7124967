package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"chancery/internal/acmeclient"
	"chancery/internal/observe"
)

// foldersOf are the folders that are meant by files: a folder or a file in it,
// a directory of folders or, when nothing is named, all that are known.
func (a *app) foldersOf(files []string) ([]string, error) {
	if len(files) == 0 {
		return a.registry().Folders()
	}
	var found []string
	for _, file := range files {
		dir, err := acmeclient.FolderOf(file)
		if err != nil {
			return nil, err
		}
		found = append(found, below(dir)...)
	}
	return found, nil
}

// below is dir itself or, if it holds no certificate but directories that do,
// those.
func below(dir string) []string {
	if acmeclient.IsFolder(dir) {
		return []string{dir}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []string{dir}
	}
	var found []string
	for _, entry := range entries {
		if inside := filepath.Join(dir, entry.Name()); acmeclient.IsFolder(inside) {
			found = append(found, inside)
		}
	}
	if found == nil {
		return []string{dir} // whose renewal says what is wrong
	}
	return found
}

// daemon keeps certificates renewed until ctx is done.
func (f *renewFlags) daemon(ctx context.Context, a *app, files []string) error {
	format := "json"
	if isTerminal(a.Err) {
		format = "text"
	}
	log, err := observe.NewLogger(a.Err, format, slog.LevelInfo)
	if err != nil {
		return err
	}
	for _, file := range files { // a misspelled one is not waited for
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("couldn't find the certificate: %w", err)
		}
	}
	keeper := a.keeper()
	keeper.Report = func(event acmeclient.Event) { logEvent(log, event) }
	log.Info("keeping certificates renewed", "version", versionText())
	daemon := &acmeclient.Daemon{
		Keeper: keeper, Folders: func() ([]string, error) { return a.foldersOf(files) },
		Exec: f.exec, Timeout: f.timeout, Log: log, Now: time.Now, Rand: rand.Reader,
	}
	daemon.Run(ctx)
	log.Info("stopped")
	return nil
}

func logEvent(log *slog.Logger, event acmeclient.Event) {
	switch event.State {
	case acmeclient.Warning:
		log.Warn(event.Text, "name", event.Name)
	default:
		log.Info("validation", "name", event.Name, "method", event.Method, "state", event.State)
	}
}

// checkDaemon refuses what goes with one renewal only.
func (f *renewFlags) checkDaemon() error {
	switch {
	case f.daemonize && f.force:
		return usagef("--force renews now, --daemon when it is time")
	case f.daemonize && f.asJSON:
		return usagef("--json is for what is done once; the log of --daemon is JSON unless a person reads it")
	}
	return nil
}

// errNothing is what "cert renew" says when it knows of no certificate.
var errNothing = errors.New("there is no certificate to renew that \"cert issue\" has written as this user")
