// Command sizing measures the tables of docs/sizing.md on this machine, with
// the program that users run and its own load generator, and prints them. Each
// row is a new CA with an empty store; with -stored, one that has so many
// certificates already. It does not keep other work off the machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"chancery/internal/processtest"
)

func main() {
	var s sizing
	engines := flag.String("engines", "sqlite,postgres", "stores to measure")
	clients := flag.String("clients", "1,16,64", "clients at once")
	accounts := flag.String("accounts", "1,16", "accounts that they share")
	flag.DurationVar(&s.span, "for", 15*time.Second, "how long each load lasts")
	flag.IntVar(&s.rounds, "rounds", 2, "how often each row is measured")
	flag.IntVar(&s.stored, "stored", 0, "certificates that are in the store before")
	flag.StringVar(&s.filled, "filled", "", "file that keeps the store with these from one call to the next")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	runtime.LockOSThread() // processes die with the thread that started them
	err := s.run(ctx, strings.Split(*engines, ","), strings.Split(*clients, ","), strings.Split(*accounts, ","))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// sizing is what all rows have in common.
type sizing struct {
	program string // chancery
	span    time.Duration
	rounds  int
	stored  int
	filled  string // a store with these, once there is one
}

func (s *sizing) run(ctx context.Context, engines, clients, accounts []string) (err error) {
	dir, err := os.MkdirTemp("/tmp", "sizing-") // short, for the names of sockets
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL, under another account, has a directory in it
		return err
	}
	if s.program, err = processtest.Build(dir, "."); err != nil {
		return err
	}
	if s.filled == "" {
		s.filled = filepath.Join(dir, "filled.db")
	}
	fmt.Println("| Store | Clients | Accounts | Certificates/s | p50 ms | p99 ms | CPU ms/certificate | of PostgreSQL | Peak MB | Failures |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, engine := range engines {
		for _, n := range clients {
			for _, m := range accounts {
				if err := s.row(ctx, dir, engine, n, m); err != nil {
					return fmt.Errorf("%s with %s clients and %s accounts: %w", engine, n, m, err)
				}
			}
		}
	}
	return nil
}

// row measures one row, prints it, and says to stderr what is not in it.
func (s *sizing) row(ctx context.Context, dir, engine, clients, accounts string) error {
	var results []result
	for range s.rounds {
		r, err := s.measure(ctx, dir, engine, clients, accounts)
		if err != nil {
			return err
		}
		results = append(results, r)
		fmt.Fprintf(os.Stderr, "%s %s %s: %+v\n", engine, clients, accounts, r)
	}
	span := func(digits int, of func(result) float64) string {
		low, high := of(results[0]), of(results[0])
		for _, r := range results {
			low, high = min(low, of(r)), max(high, of(r))
		}
		from, to := strconv.FormatFloat(low, 'f', digits, 64), strconv.FormatFloat(high, 'f', digits, 64)
		if from == to {
			return from
		}
		return from + "–" + to
	}
	fmt.Printf("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", engine, clients, accounts,
		span(0, func(r result) float64 { return r.PerSecond }), span(1, func(r result) float64 { return r.P50 }),
		span(0, func(r result) float64 { return r.P99 }), span(2, func(r result) float64 { return r.CPU }),
		span(2, func(r result) float64 { return r.database }), span(0, func(r result) float64 { return r.PeakRSS }),
		span(0, func(r result) float64 { return float64(r.Failed) }))
	return nil
}
