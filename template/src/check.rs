//! What Go's parser checks and `gotmpl`'s leaves to execution: variables, loop control, names.

use gotmpl::parse::{BranchNode, Expr, ListNode, Node, PipeNode, SmolStr};

use crate::Functions;

/// Byte offset and message.
type Found = (usize, String);

/// Checks that every variable is declared before use and that `break` and `continue` are in a loop.
pub(crate) fn scopes(
    body: &ListNode,
    root_variables: &[(&'static str, &'static str)],
) -> Result<(), Found> {
    let mut scope = Scope {
        variables: vec![SmolStr::new("$")],
        loops: 0,
    };
    scope
        .variables
        .extend(root_variables.iter().map(|(name, _)| SmolStr::new(name)));
    scope.list(body)
}

struct Scope {
    variables: Vec<SmolStr>,
    loops: usize,
}

impl Scope {
    fn list(&mut self, list: &ListNode) -> Result<(), Found> {
        list.nodes.iter().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &Node) -> Result<(), Found> {
        match node {
            Node::List(l) => self.list(l),
            Node::Action(a) => self.pipe(&a.pipe),
            Node::If(b) | Node::With(b) => self.branch(b),
            Node::Range(b) => self.range(b),
            Node::Template(t) => t.pipe.as_ref().map_or(Ok(()), |p| self.pipe(p)),
            Node::Break(p) if self.loops == 0 => {
                Err((p.offset, "{{break}} outside {{range}}".to_owned()))
            }
            Node::Continue(p) if self.loops == 0 => {
                Err((p.offset, "{{continue}} outside {{range}}".to_owned()))
            }
            Node::Text(_) | Node::Define(_) | Node::Break(_) | Node::Continue(_) => Ok(()),
        }
    }

    fn branch(&mut self, branch: &BranchNode) -> Result<(), Found> {
        let depth = self.variables.len();
        self.pipe(&branch.pipe)?;
        let inner = self.variables.len();
        self.list(&branch.body)?;
        self.variables.truncate(inner);
        if let Some(other) = &branch.else_body {
            self.list(other)?;
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn range(&mut self, branch: &BranchNode) -> Result<(), Found> {
        let depth = self.variables.len();
        self.pipe(&branch.pipe)?;
        let inner = self.variables.len();
        self.loops += 1;
        self.list(&branch.body)?;
        self.loops -= 1;
        self.variables.truncate(inner);
        if let Some(other) = &branch.else_body {
            self.list(other)?;
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn pipe(&mut self, pipe: &PipeNode) -> Result<(), Found> {
        for expr in pipe.commands.iter().flat_map(|c| &c.args) {
            self.expr(expr)?;
        }
        for name in &pipe.decl {
            if pipe.is_assign {
                self.known(name, pipe.pos.offset)?;
            } else {
                self.variables.push(name.clone());
            }
        }
        Ok(())
    }

    fn expr(&mut self, expr: &Expr) -> Result<(), Found> {
        match expr {
            Expr::Variable(pos, name, _) => self.known(name, pos.offset),
            Expr::Pipe(_, pipe) => {
                let depth = self.variables.len();
                self.pipe(pipe)?;
                self.variables.truncate(depth);
                Ok(())
            }
            Expr::Chain(_, inner, _) => self.expr(inner),
            _ => Ok(()),
        }
    }

    fn known(&self, name: &SmolStr, offset: usize) -> Result<(), Found> {
        if self.variables.contains(name) {
            return Ok(());
        }
        Err((offset, format!("undefined variable {:?}", name.as_str())))
    }
}

/// Checks that called functions and templates exist.
pub(crate) fn calls(
    list: &ListNode,
    functions: &Functions<'_>,
    has_template: &dyn Fn(&str) -> bool,
) -> Result<(), Found> {
    for node in &list.nodes {
        match node {
            Node::List(l) => calls(l, functions, has_template)?,
            Node::Action(a) => pipe_calls(&a.pipe, functions)?,
            Node::If(b) | Node::With(b) | Node::Range(b) => {
                pipe_calls(&b.pipe, functions)?;
                calls(&b.body, functions, has_template)?;
                if let Some(other) = &b.else_body {
                    calls(other, functions, has_template)?;
                }
            }
            Node::Template(t) => {
                if !has_template(&t.name) {
                    return Err((
                        t.pos.offset,
                        format!("template {:?} not defined", t.name.as_str()),
                    ));
                }
                if let Some(pipe) = &t.pipe {
                    pipe_calls(pipe, functions)?;
                }
            }
            Node::Text(_) | Node::Define(_) | Node::Break(_) | Node::Continue(_) => {}
        }
    }
    Ok(())
}

fn pipe_calls(pipe: &PipeNode, functions: &Functions<'_>) -> Result<(), Found> {
    pipe.commands
        .iter()
        .flat_map(|c| &c.args)
        .try_for_each(|e| expr_calls(e, functions))
}

fn expr_calls(expr: &Expr, functions: &Functions<'_>) -> Result<(), Found> {
    match expr {
        Expr::Identifier(pos, name) if functions.get(name).is_none() => Err((
            pos.offset,
            format!("function {:?} not defined", name.as_str()),
        )),
        Expr::Pipe(_, pipe) => pipe_calls(pipe, functions),
        Expr::Chain(_, inner, _) => expr_calls(inner, functions),
        _ => Ok(()),
    }
}

/// Adds the names of fields of the data; whether the data is taken as a whole somewhere. Inside
/// `range` and `with` the dot is another value, whose fields are added too: too many do no harm.
pub(crate) fn fields(list: &ListNode, out: &mut Vec<String>) -> bool {
    let mut whole = false;
    for node in &list.nodes {
        whole |= match node {
            Node::List(l) => fields(l, out),
            Node::Action(a) => pipe_fields(&a.pipe, out),
            Node::If(b) | Node::With(b) | Node::Range(b) => {
                let other = b.else_body.as_ref().is_some_and(|o| fields(o, out));
                pipe_fields(&b.pipe, out) | fields(&b.body, out) | other
            }
            Node::Template(t) => t.pipe.as_ref().is_some_and(|p| pipe_fields(p, out)),
            Node::Text(_) | Node::Define(_) | Node::Break(_) | Node::Continue(_) => false,
        };
    }
    whole
}

fn pipe_fields(pipe: &PipeNode, out: &mut Vec<String>) -> bool {
    let exprs = pipe.commands.iter().flat_map(|c| &c.args);
    exprs.fold(false, |whole, expr| whole | expr_fields(expr, out))
}

fn expr_fields(expr: &Expr, out: &mut Vec<String>) -> bool {
    match expr {
        Expr::Dot(_) => true,
        Expr::Field(_, path) => {
            out.extend(path.first().map(ToString::to_string));
            false
        }
        Expr::Variable(_, name, path) if name == "$" => {
            out.extend(path.first().map(ToString::to_string));
            path.is_empty()
        }
        Expr::Pipe(_, pipe) => pipe_fields(pipe, out),
        Expr::Chain(_, inner, _) => expr_fields(inner, out),
        _ => false,
    }
}
