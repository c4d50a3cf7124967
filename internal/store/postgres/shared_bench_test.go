package postgres

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

// BenchmarkNonces spends nonces in messages of so many.
func BenchmarkNonces(b *testing.B) {
	for _, size := range []int{1, 16} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := openTest(b)
			storetest.Benchmark(b, "call", func(i int64) error {
				ids := make([]store.NonceID, size)
				for j := range ids {
					binary.BigEndian.PutUint64(ids[j][:], uint64(time.Now().UnixMilli())<<16)
					binary.BigEndian.PutUint64(ids[j][8:], uint64(i)*uint64(size)+uint64(j))
				}
				_, err := s.SpendNonces(b.Context(), ids)
				return err
			})
		})
	}
}

// BenchmarkLimits counts events of one account, and of as many as there are
// calls at once.
func BenchmarkLimits(b *testing.B) {
	for _, accounts := range []int64{1, 64} {
		b.Run(fmt.Sprint(accounts), func(b *testing.B) {
			s := openTest(b)
			storetest.Benchmark(b, "call", func(i int64) error {
				list := make([]store.LimitEvent, 3)
				for j := range list {
					list[j] = store.LimitEvent{Interval: time.Nanosecond, Span: time.Hour}
					copy(list[j].Key[:], fmt.Sprint(i%accounts, j))
				}
				_, _, err := s.TakeEvents(b.Context(), list, time.Now())
				return err
			})
		})
	}
}
