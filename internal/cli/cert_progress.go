package cli

import (
	"fmt"
	"io"

	"chancery/internal/acmeclient"
)

// progress writes what an ACME client does: on a terminal a validation and its
// outcome share a line when nothing comes between them.
type progress struct {
	out      io.Writer
	terminal bool
	open     string // the name whose line is not ended; "" for none
}

func (p *progress) report(event acmeclient.Event) {
	name := event.Name
	if p.open != "" && p.open == name && event.State != acmeclient.Warning {
		fmt.Fprintln(p.out, event.State)
		p.open = ""
		return
	}
	if p.open != "" {
		fmt.Fprintln(p.out)
		p.open = ""
	}
	switch {
	case event.State == acmeclient.Validating && p.terminal:
		fmt.Fprintf(p.out, "validating %s by %s … ", name, event.Method)
		p.open = name
	case event.State == acmeclient.Validating:
		fmt.Fprintf(p.out, "validating %s by %s\n", name, event.Method)
	case event.State == acmeclient.Warning && name != "":
		fmt.Fprintf(p.out, "warning: %s: %s\n", name, event.Text)
	case event.State == acmeclient.Warning:
		fmt.Fprintf(p.out, "warning: %s\n", event.Text)
	case event.Method == "":
		fmt.Fprintf(p.out, "%s is validated from before\n", name)
	default:
		fmt.Fprintf(p.out, "%s is %s\n", name, event.State)
	}
}
