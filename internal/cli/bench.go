package cli

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"chancery/client"
	"chancery/internal/bench"
	"chancery/internal/duration"
)

func newBench(a *app) *cobra.Command {
	return newGroup("bench", "Put a server under load and measure it", newBenchACME(a))
}

// benchFlags are what "bench acme" is told.
type benchFlags struct {
	bench.Config
	root, span, timeout, hmacKey string
	asJSON                       bool
}

func newBenchACME(a *app) *cobra.Command {
	f := &benchFlags{}
	cmd := &cobra.Command{
		Use:   "acme --server URL",
		Short: "Measure how fast an ACME server issues certificates",
		Long: `Order certificates from any ACME server, as many clients at once, each for names
that were not seen before, and measure how long that takes. Don't do this to a
server that is not yours.

Each of the clients begins an order when it has ended the one before. With
--rate, orders begin at that rate whatever the server does, --clients of them at
once at most; an order's time then counts from when it was to begin, so that
waiting for a free client is part of it.

The server validates names at this machine: at --http or --tls, which must get
what is sent to the port the server connects to. It finds the names when it asks
the DNS server at --dns, which says that every name is here; or when a wildcard
in your DNS leads here; or without DNS when --domain is a network whose
addresses are all here, as 127.0.0.0/8 is.

SIGINT ends the load early and prints what was measured.`,
		Example: `  chancery bench acme --server https://127.0.0.1:9443 --root chancery-ca/root.pem --http :5002 --domain 127.0.0.0/8
  chancery bench acme --server https://ca.corp.example --root root.pem --dns 10.0.0.7:53 --clients 64 --accounts 16 --for 1m
  chancery bench acme --server https://ca.corp.example --root root.pem --dns :53 --challenge dns-01 --rate 50 --for 10m --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.resolve(cmd); err != nil {
				return err
			}
			return a.bench(cmd, f)
		},
	}
	f.addFlags(cmd)
	return cmd
}

func (f *benchFlags) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.Server, "server", "", "directory URL, or https://HOST[:PORT] of a server that has it at a usual place")
	flags.StringVar(&f.root, "root", "", "file with the root certificate that the server must chain to (default: the system's)")
	flags.IntVar(&f.Clients, "clients", 16, "how many work at once; with --rate, at most")
	flags.IntVar(&f.Accounts, "accounts", 1, "how many accounts the clients share")
	flags.IntVar(&f.Names, "names", 1, "names in each certificate")
	flags.IntVar(&f.Count, "count", 0, "end after so many orders")
	flags.StringVar(&f.span, "for", "", "begin orders for so long (default 30s, unless --count is given)")
	flags.Float64Var(&f.Rate, "rate", 0, "orders that are to begin each second (default: as fast as the clients can)")
	flags.StringVar(&f.timeout, "timeout", "1m", "how long an order may take")
	flags.StringVar(&f.Challenge, "challenge", bench.HTTP01, "how names are proven: http-01, dns-01 or tls-alpn-01")
	flags.StringVar(&f.Domain, "domain", "bench.test", "domain to make names in, or a network to take addresses from")
	flags.StringVar(&f.HTTP, "http", ":80", "HOST:PORT to answer http-01 at")
	flags.StringVar(&f.TLS, "tls", ":443", "HOST:PORT to answer tls-alpn-01 at")
	flags.StringVar(&f.DNS, "dns", "", "HOST:PORT of a DNS server that says every name is here (default: none)")
	flags.StringVar(&f.EAB.KeyID, "eab-kid", "", "key identifier of an external account binding for the accounts")
	flags.StringVar(&f.hmacKey, "eab-hmac-key", "", "its key, in base64url")
	flags.StringVar(&f.Profile, "profile", "", "profile to ask for")
	flags.IntVar(&f.PID, "pid", 0, "process of the server, on this machine: measure its CPU time and memory")
	flags.BoolVar(&f.asJSON, "json", false, "print one JSON object, for scripts")
}

// defaultBenchTime is how long a load lasts unless told.
const defaultBenchTime = 30 * time.Second

// resolve reads what is more than a plain value.
func (f *benchFlags) resolve(cmd *cobra.Command) error {
	timeout, err := duration.Parse(f.timeout)
	if err != nil {
		return usagef("--timeout: %w", err)
	}
	f.Timeout = timeout.Std()
	switch {
	case f.span != "":
		span, err := duration.Parse(f.span)
		if err != nil {
			return usagef("--for: %w", err)
		}
		f.For = span.Std()
	case !cmd.Flags().Changed("count"):
		f.For = defaultBenchTime
	}
	f.EAB.Key, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(f.hmacKey, "="))
	if err != nil {
		return usagef("--eab-hmac-key is not in base64url")
	}
	if err := f.Check(); err != nil {
		return &usageError{err: err}
	}
	if f.root != "" {
		f.Roots, err = client.RootsFromFile(f.root)
	}
	return err
}

// bench makes the load and prints what was measured.
func (a *app) bench(cmd *cobra.Command, f *benchFlags) error {
	f.UserAgent, f.Now, f.Rand = "chancery/"+versionText(), time.Now, rand.Reader
	tuneCollector(a.Environ)
	live := isTerminal(a.Err) && !f.asJSON
	if live {
		f.Report = (&benchDisplay{out: a.Err}).show
	}
	r, err := bench.Run(cmd.Context(), f.Config)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return withHint(err, "nothing listens there; is the server running, and is --server right?")
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EADDRINUSE):
		return withHint(err, "--http, --tls and --dns choose other addresses, which must get what is sent to the real ones")
	case err != nil:
		return err
	}
	if live {
		fmt.Fprint(a.Err, "\r\x1b[K")
	}
	if f.asJSON {
		err = printJSON(a.Out, r)
	} else {
		err = printBench(a.Out, r)
	}
	if err == nil && r.Issued == 0 && !r.Interrupted {
		err = errors.New("no certificate was issued")
	}
	return err
}

// benchDisplay is one line on a terminal that is written again and again.
type benchDisplay struct {
	out   io.Writer
	shown []bench.Snapshot // the last few seconds, oldest first
}

// displayed is over how many reports the rate is shown.
const displayed = 9

func (d *benchDisplay) show(now bench.Snapshot) {
	d.shown = append(d.shown, now)
	if len(d.shown) > displayed {
		d.shown = d.shown[1:]
	}
	since, rate := d.shown[0], 0.0
	if len(d.shown) < displayed {
		since = bench.Snapshot{}
	}
	if span := now.Elapsed - since.Elapsed; span > 0 {
		rate = float64(now.Issued-since.Issued) / span.Seconds()
	}
	fmt.Fprintf(d.out, "\r\x1b[K%s  issued %d  %.1f/s  p50 %s  p99 %s  failed %d",
		now.Elapsed.Round(time.Second), now.Issued, rate, latency(now.P50), latency(now.P99), now.Failed)
}

// latency writes a time in milliseconds.
func latency(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// printBench writes a result for people.
func printBench(w io.Writer, r *bench.Result) error {
	perCertificate := func(cpu time.Duration) string {
		each, ok := r.PerCertificate(cpu)
		if !ok {
			return ""
		}
		return fmt.Sprintf("%.2f ms a certificate", float64(each)/float64(time.Millisecond))
	}
	facts := []string{
		"issued", fmt.Sprintf("%d in %s", r.Issued, r.Elapsed.Round(10*time.Millisecond)),
		"rate", fmt.Sprintf("%.1f/s", r.PerSecond()),
		"failed", fmt.Sprint(r.Failed),
	}
	if r.Issued > 0 {
		facts = append(facts, "latency", fmt.Sprintf("p50 %s  p90 %s  p99 %s  max %s", latency(r.P50), latency(r.P90), latency(r.P99), latency(r.Max)))
	}
	if r.Late > 0 {
		facts = append(facts, "late", fmt.Sprintf("%d orders had not begun at the end: the rate is too high, or --clients too low", r.Late))
	}
	if r.Retried > 0 {
		facts = append(facts, "retried", fmt.Sprintf("%d requests", r.Retried))
	}
	if r.Server != nil {
		facts = append(facts, "server CPU", perCertificate(r.Server.CPU), "server memory", fmt.Sprintf("%.1f MB at its peak", float64(r.Server.Peak)/(1<<20)))
	}
	facts = append(facts, "client CPU", perCertificate(r.Client))
	if err := printFields(w, facts...); err != nil {
		return err
	}
	return printFailures(w, r.Failures)
}

func printFailures(w io.Writer, failures map[string]bench.Failure) error {
	if len(failures) == 0 {
		return nil
	}
	fmt.Fprintln(w, "\nfailures, each type with its first:")
	var lines []string
	for _, kind := range sortedKeys(failures) {
		lines = append(lines, fmt.Sprintf("%d %s", failures[kind].Count, kind), printable(failures[kind].Example))
	}
	return printFields(w, lines...)
}

// printable replaces what a server could steer a terminal with.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}
