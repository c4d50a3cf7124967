package dnstest

import (
	"strings"
	"time"

	"github.com/miekg/dns"
)

const maxChain = 20 // CNAMEs chased for one answer

func (s *Server) serve(w dns.ResponseWriter, request *dns.Msg) {
	if len(request.Question) != 1 {
		_ = w.WriteMsg(new(dns.Msg).SetRcodeFormatError(request))
		return
	}
	network := w.RemoteAddr().Network()
	question := request.Question[0]
	fault, hook := s.note(network, question)
	if !s.wait(fault.Delay) {
		return
	}
	faulty := !fault.UDPOnly || network == "udp"
	if fault.Drop && faulty {
		return
	}
	if hook != nil {
		if reply := hook(question); reply != nil {
			writeHooked(w, request, reply)
			return
		}
	}
	reply := new(dns.Msg).SetReply(request)
	reply.RecursionAvailable = true
	switch {
	case fault.Rcode != 0 && faulty:
		reply.Rcode = fault.Rcode
	case fault.Truncate && network == "udp":
		reply.Truncated = true
	default:
		s.answer(reply, question, !fault.NoChase)
		fit(reply, request, network)
	}
	_ = w.WriteMsg(reply)
}

// note writes down the question and returns how to treat it.
func (s *Server) note(network string, q dns.Question) (Fault, func(dns.Question) *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = append(s.queries, network+" "+dns.TypeToString[q.Qtype]+" "+q.Name)
	fault, ok := s.faults[dns.CanonicalName(q.Name)]
	if !ok {
		fault = s.faults["."]
	}
	return fault, s.hook
}

// wait reports false when the server was closed meanwhile.
func (s *Server) wait(delay time.Duration) bool {
	if delay == 0 {
		return true
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.closed:
		return false
	}
}

func writeHooked(w dns.ResponseWriter, request, reply *dns.Msg) {
	reply.Response = true
	if reply.Id == 0 {
		reply.Id = request.Id
	}
	if reply.Question == nil {
		reply.Question = request.Question
	}
	_ = w.WriteMsg(reply)
}

// answer fills reply with the records of the name asked for, following CNAMEs
// when chase is set.
func (s *Server) answer(reply *dns.Msg, q dns.Question, chase bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := q.Name
	for range maxChain {
		records, exists := s.find(name)
		target := ""
		for _, rr := range records {
			if rr.Header().Rrtype == q.Qtype {
				reply.Answer = append(reply.Answer, rr)
			} else if alias, ok := rr.(*dns.CNAME); ok {
				reply.Answer = append(reply.Answer, rr)
				target = alias.Target
			}
		}
		if !exists {
			reply.Rcode = dns.RcodeNameError
		}
		if target == "" || !chase {
			return
		}
		name = target
	}
}

// find returns the records of name, under that name, and whether it exists:
// a name exists when it or a name below it has records. The caller holds mu.
func (s *Server) find(name string) ([]dns.RR, bool) {
	key := dns.CanonicalName(name)
	if records, ok := s.records[key]; ok {
		return records, true
	}
	for owner := range s.records {
		if strings.HasSuffix(owner, "."+key) {
			return nil, true
		}
	}
	for off, end := dns.NextLabel(key, 0); !end; off, end = dns.NextLabel(key, off) {
		if records, ok := s.records["*."+key[off:]]; ok {
			return renamed(records, name), true
		}
	}
	return nil, false
}

func renamed(records []dns.RR, name string) []dns.RR {
	named := make([]dns.RR, len(records))
	for i, rr := range records {
		named[i] = dns.Copy(rr)
		named[i].Header().Name = name
	}
	return named
}

// fit truncates an answer that is longer than the asker takes over UDP.
func fit(reply, request *dns.Msg, network string) {
	size := dns.MaxMsgSize
	if network == "udp" {
		size = dns.MinMsgSize
		if opt := request.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
	}
	reply.Truncate(size)
}
