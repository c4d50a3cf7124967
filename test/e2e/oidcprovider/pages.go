package oidcprovider

import (
	"context"
	"html/template"
	"net/http"

	"github.com/zitadel/oidc/v3/pkg/op"
)

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{{.Title}}</title>
<h1>{{.Title}}</h1>{{if .Done}}<p id="done">{{.Done}}</p>{{else}}<form method="post">
<input type="hidden" name="id" value="{{.ID}}">
{{if .Device}}<label>Code <input id="code" name="code" value="{{.Code}}"></label>{{end}}
<label>User <input id="user" name="user"></label>
<label>Password <input id="password" name="password" type="password"></label>
{{if .Problem}}<p id="problem">{{.Problem}}</p>{{end}}
<button id="allow" name="answer" value="allow">Allow</button>
<button id="deny" name="answer" value="deny">Deny</button>
</form>{{end}}</html>`))

type view struct {
	Title, ID, Code, Problem, Done string
	Device                         bool
}

func show(w http.ResponseWriter, v view) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, v) // the browser may be gone
}

// addPages serves where people log in: for a request of their browser, and for
// a code of another device.
func (p *Provider) addPages(mux *http.ServeMux, callback func(context.Context, string) string, issuer *op.IssuerInterceptor) {
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		show(w, view{Title: "Log in", ID: r.FormValue("id")})
	})
	mux.HandleFunc("POST /login", issuer.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("id")
		if !p.login(id, r.FormValue("user"), r.FormValue("password")) {
			show(w, view{Title: "Log in", ID: id, Problem: "User or password is wrong."})
			return
		}
		http.Redirect(w, r, callback(r.Context(), id), http.StatusFound)
	}))
	mux.HandleFunc("GET /activate", func(w http.ResponseWriter, r *http.Request) {
		show(w, view{Title: "Activate", Device: true, Code: r.FormValue("user_code")})
	})
	mux.HandleFunc("POST /activate", func(w http.ResponseWriter, r *http.Request) {
		code := r.FormValue("code")
		if !p.activate(code, r.FormValue("user"), r.FormValue("password"), r.FormValue("answer") == "allow") {
			show(w, view{Title: "Activate", Device: true, Code: code, Problem: "Code, user or password is wrong."})
			return
		}
		show(w, view{Title: "Activate", Done: "Go on at your device."})
	})
}

// login notes who has logged in for a request.
func (p *Provider) login(id, user, password string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	request := p.requests[id]
	if request == nil || p.users[user].Password != password || password == "" {
		return false
	}
	request.user = user
	return true
}

// activate notes who has allowed, or refused, a device what it asks.
func (p *Provider) activate(code, user, password string, allow bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, device := range p.devices {
		if device.userCode == code && p.users[user].Password == password && password != "" {
			device.state.Done, device.state.Denied, device.state.Subject = allow, !allow, user
			return true
		}
	}
	return false
}
