package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"chancery/internal/store"
)

const (
	missedAfter = 3 * seeEvery // when a node that was not seen is spoken of
	clockOff    = time.Second  // how far a clock may be off before it is
)

// Details are what a node says of itself.
type Details struct {
	ExternalURL string            `json:"external_url"`
	Address     string            `json:"address"`          // where this node itself serves HTTPS
	Ready       bool              `json:"ready"`            // it can issue
	Reason      string            `json:"reason,omitempty"` // why it can't
	Issuers     map[string]string `json:"issuers"`          // ids of those that sign, by name
	Settings    map[string]string `json:"settings"`         // hashes of what should be equal on all nodes, by section
	Jobs        []string          `json:"jobs"`             // that the node is ready to do
}

// Node is a node as the store and itself describe it.
type Node struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Seen    time.Time `json:"seen"`    // by the store's clock
	Age     float64   `json:"age"`     // seconds since
	Offset  float64   `json:"offset"`  // seconds that its clock was ahead of the store's
	Missing bool      `json:"missing"` // it was not seen for too long
	Leases  []string  `json:"leases"`  // the jobs it does
	Details
}

// Lease is a job that a node does.
type Lease struct {
	Job   string    `json:"job"`
	Node  string    `json:"node"` // its id
	Until time.Time `json:"until"`
}

// The values of Status.Store.
const (
	Embedded   = "embedded"
	PostgreSQL = "postgresql"
)

// Status is what is known of the nodes.
type Status struct {
	Store    string   `json:"store"` // where the state is: embedded, or postgresql
	Nodes    []Node   `json:"nodes"`
	Leases   []Lease  `json:"leases"`
	Warnings []string `json:"warnings"` // what is wrong, for people
}

// Look asks the store about all nodes.
func Look(ctx context.Context, from Store) (Status, error) {
	found, now, err := from.ListNodes(ctx)
	if err != nil {
		return Status{}, err
	}
	leases, err := from.ListLeases(ctx)
	if err != nil {
		return Status{}, err
	}
	status := Status{Store: PostgreSQL, Nodes: []Node{}, Leases: []Lease{}, Warnings: []string{}}
	for _, lease := range leases {
		status.Leases = append(status.Leases, Lease{lease.Name, lease.Holder, lease.Until})
	}
	for _, one := range found {
		status.Nodes = append(status.Nodes, status.view(one, now))
	}
	all := slices.Clone(status.Nodes)
	status.Nodes = slices.DeleteFunc(status.Nodes, func(n Node) bool { return cameBack(n, all) })
	status.warn()
	return status, nil
}

func (s *Status) view(one store.Node, now time.Time) Node {
	age := now.Sub(one.Seen)
	node := Node{
		ID: one.ID, Name: one.Name, Version: one.Version, Started: one.Started, Seen: one.Seen,
		Age: age.Seconds(), Offset: one.Clock.Sub(one.Seen).Seconds(), Missing: age > missedAfter, Leases: []string{},
	}
	if json.Unmarshal(one.Details, &node.Details) != nil { // of a version that says other things
		node.Details = Details{}
	}
	for _, lease := range s.Leases {
		if lease.Node == one.ID {
			node.Leases = append(node.Leases, lease.Job)
		}
	}
	return node
}

// cameBack reports whether a node that is missing runs again, as another one of
// the same name.
func cameBack(gone Node, all []Node) bool {
	return gone.Missing && slices.ContainsFunc(all, func(n Node) bool {
		return n.Name == gone.Name && !n.Missing && n.Seen.After(gone.Seen)
	})
}

// warn looks for what is wrong. Nodes that are not there any more differ from
// nobody.
func (s *Status) warn() {
	var live []Node
	for _, node := range s.Nodes {
		if node.Missing {
			s.add("the node %s (%.8s) was not seen for %s; if it does not come back, it is forgotten after a day",
				node.Name, node.ID, (time.Duration(node.Age) * time.Second))
			continue
		}
		live = append(live, node)
		if off := time.Duration(node.Offset * float64(time.Second)); off.Abs() > clockOff {
			s.add("the clock of %s is %s off the database's; set it by NTP", node.Name, off.Round(100*time.Millisecond))
		}
		if !node.Ready && node.Reason != "" {
			s.add("%s can't issue: %s", node.Name, node.Reason)
		}
	}
	s.differ(live, "external_url", func(n Node) string { return n.ExternalURL })
	s.warnSettings(live)
	s.warnIssuers(live)
	s.warnVersions(live)
	s.warnNames(live)
	s.warnJobs(live)
}

func (s *Status) add(format string, args ...any) {
	s.Warnings = append(s.Warnings, fmt.Sprintf(format, args...))
}

// groups are the names of nodes by what they say, in the order of that. Nodes
// that say "" say nothing: they are of a version that does not speak of it.
func groups(nodes []Node, say func(Node) string) (said []string, by map[string][]string) {
	by = map[string][]string{}
	for _, node := range nodes {
		if text := say(node); text != "" {
			by[text] = append(by[text], node.Name)
		}
	}
	return slices.Sorted(maps.Keys(by)), by
}

// differ adds a warning when nodes don't say the same.
func (s *Status) differ(nodes []Node, what string, say func(Node) string) {
	said, by := groups(nodes, say)
	if len(said) < 2 {
		return
	}
	parts := make([]string, len(said))
	for i, text := range said {
		parts[i] = strings.Join(by[text], ", ") + " has " + text
	}
	s.add("%s differs: %s", what, strings.Join(parts, "; "))
}

// warnSettings names the sections of the configuration that differ.
func (s *Status) warnSettings(nodes []Node) {
	sections := map[string]bool{}
	for _, node := range nodes {
		for section := range node.Settings {
			sections[section] = true
		}
	}
	for _, section := range slices.Sorted(maps.Keys(sections)) {
		said, by := groups(nodes, func(n Node) string { return n.Settings[section] })
		if len(said) < 2 {
			continue
		}
		parts := make([]string, len(said))
		for i, text := range said {
			parts[i] = strings.Join(by[text], ", ")
		}
		s.add("the settings of %s differ between %s; make them equal and reload", section, strings.Join(parts, " and "))
	}
}

func (s *Status) warnIssuers(nodes []Node) {
	names := map[string]bool{}
	for _, node := range nodes {
		for name := range node.Issuers {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		s.differ(nodes, "the certificate of the issuer "+name, func(n Node) string {
			if n.Issuers == nil || n.Issuers[name] != "" {
				return n.Issuers[name]
			}
			return "none"
		})
	}
}

// warnVersions speaks of versions that should not share a store: only adjacent
// ones may.
func (s *Status) warnVersions(nodes []Node) {
	said, _ := groups(nodes, func(n Node) string { return n.Version })
	for i, version := range said {
		for _, other := range said[i+1:] {
			if !adjacent(version, other) {
				s.add("the versions %s and %s should not run on one database: only adjacent ones can", version, other)
			}
		}
	}
}

// adjacent reports whether two versions are of the same or of adjacent minor
// versions. What is no version is adjacent to nothing but itself.
func adjacent(a, b string) bool {
	majorA, minorA, okA := minor(a)
	majorB, minorB, okB := minor(b)
	if !okA || !okB {
		return a == b
	}
	return majorA == majorB && max(minorA, minorB)-min(minorA, minorB) <= 1
}

func minor(version string) (major, minor int, ok bool) {
	first, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	second, _, _ := strings.Cut(rest, ".")
	major, errMajor := strconv.Atoi(first)
	minor, errMinor := strconv.Atoi(second)
	return major, minor, errMajor == nil && errMinor == nil
}

func (s *Status) warnNames(nodes []Node) {
	_, by := groups(nodes, func(n Node) string { return n.Name })
	for _, name := range slices.Sorted(maps.Keys(by)) {
		if count := len(by[name]); count > 1 {
			s.add("%d nodes are called %s; tell them apart with node.name", count, name)
		}
	}
}

// warnJobs speaks of jobs that nobody does.
func (s *Status) warnJobs(nodes []Node) {
	wanted := map[string]bool{}
	for _, node := range nodes {
		for _, job := range node.Jobs {
			wanted[job] = true
		}
	}
	for _, lease := range s.Leases {
		delete(wanted, lease.Job)
	}
	for _, job := range slices.Sorted(maps.Keys(wanted)) {
		s.add("nobody does the job %s just now; a node takes it within moments", job)
	}
}
