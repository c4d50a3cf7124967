package transfer

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
)

func TestEncoding(t *testing.T) {
	t.Parallel()
	rows := []Row{
		nil, {""}, {"a", "b"}, {"ab", ""}, {[]byte("ab"), ""}, {[]byte(nil)}, {int64(-1)}, {int64(1), false}, {true, int64(1)}, {"\x00", []byte{0xff}},
	}
	forms := map[string]int{}
	for i, row := range rows {
		form, err := row.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if other, found := forms[string(form)]; found {
			t.Errorf("%v and %v have the same form", row, rows[other])
		}
		forms[string(form)] = i
		if got, err := Decode(form); err != nil || !reflect.DeepEqual(got, row) {
			t.Errorf("%#v comes back as %#v, %v", row, got, err)
		}
	}
	if _, err := (Row{1.5}).Encode(); err == nil {
		t.Error("a value of no known type is encoded")
	}
}

func TestSum(t *testing.T) {
	t.Parallel()
	rows := make([]Row, 100)
	for i := range rows {
		rows[i] = Row{int64(i), "a"}
	}
	sumOf := func(rows []Row) (sum Sum) {
		for _, row := range rows {
			if err := sum.Add(row); err != nil {
				t.Fatal(err)
			}
		}
		return sum
	}
	want := sumOf(rows)
	rand.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	if got := sumOf(rows); got != want {
		t.Errorf("the sum is %s in another order, %s before", got.String(), want.String())
	}
	rows[7], rows[8] = Row{rows[8][0], "b"}, rows[7]
	if got := sumOf(rows); got == want || got.Count != want.Count || len(got.String()) != 64 {
		t.Errorf("the sum of other records is %+v", got)
	}
}

// FuzzDecode checks that nothing but what Encode gives is decoded.
func FuzzDecode(f *testing.F) {
	for _, row := range []Row{{"a", int64(1), true, []byte("b")}, {}} {
		form, err := row.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(form)
	}
	f.Fuzz(func(t *testing.T, form []byte) {
		row, err := Decode(form)
		if err != nil {
			return
		}
		if again, err := row.Encode(); err != nil || !bytes.Equal(again, form) {
			t.Errorf("%x is decoded as %v, which is %x, %v", form, row, again, err)
		}
	})
}
