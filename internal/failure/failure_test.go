package failure

import (
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"chancery/internal/identifier"
)

func TestWrapKeepsWhatTheClientMaySee(t *testing.T) {
	inner := &Error{Kind: Rejected, Public: "policy says no", Err: io.EOF, RetryAfter: time.Minute}
	err := Wrap("issue certificate", Wrap("ask policy", inner))

	outer, ok := errors.AsType[*Error](err)
	if !ok || outer.Kind != Rejected || outer.Public != "policy says no" || outer.RetryAfter != time.Minute {
		t.Errorf("outermost failure is %+v", outer)
	}
	if !errors.Is(err, io.EOF) {
		t.Error("the cause is lost")
	}
	if want := "couldn't issue certificate: couldn't ask policy: policy says no: EOF"; err.Error() != want {
		t.Errorf("reads %q, want %q", err, want)
	}
}

func TestUnclassifiedErrorsAreOurs(t *testing.T) {
	err := Wrap("read order", io.ErrUnexpectedEOF)
	if KindOf(err) != Internal || KindOf(io.EOF) != Internal {
		t.Error("an unclassified error is not Internal")
	}
	if report := ReportOf(err); report.Kind != Internal || report.Text == io.ErrUnexpectedEOF.Error() {
		t.Errorf("the client would see %+v", report)
	}
	if Wrap("do nothing", nil) != nil {
		t.Error("Wrap makes an error of nil")
	}
}

func TestReportSurvivesStorage(t *testing.T) {
	id := identifier.Identifier{Type: identifier.DNS, Value: "a.example"}
	stored, err := json.Marshal(ReportOf(&Error{Kind: CAA, Public: "forbidden", Parts: []Part{{id, DNS, "no such name"}}}))
	if err != nil {
		t.Fatal(err)
	}
	var report Report
	if err := json.Unmarshal(stored, &report); err != nil {
		t.Fatal(err)
	}
	back := report.Error()
	if back.Kind != CAA || back.Public != "forbidden" || len(back.Parts) != 1 || back.Parts[0] != (Part{id, DNS, "no such name"}) {
		t.Errorf("%s reads back as %+v", stored, back)
	}
	for kind := range Kind(len(kindNames)) {
		var again Kind
		if text, _ := kind.MarshalText(); again.UnmarshalText(text) != nil || again != kind || len(text) == 0 {
			t.Errorf("kind %d is stored as %q and read as %v", kind, kind, again)
		}
	}
}
