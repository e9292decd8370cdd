//! The executor: walks a tree over data and writes text.

use gotmpl::parse::{
    BranchNode, CommandNode, Expr, ListNode, Node, Number, PipeNode, Pos, SmolStr,
};

use crate::escape;
use crate::set::{Tree, line_column};
use crate::{Functions, TemplateSet, Value};

/// What one expansion may cost. The defaults are far above what real templates need.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Nested templates, blocks and parentheses together.
    pub depth_max: usize,
    /// Bytes of output, and of any single string on the way to it.
    pub output_bytes_max: usize,
    /// Iterations of all loops together.
    pub iterations_max: usize,
    /// Nodes and commands visited; stands in for time, which this crate does not know.
    pub steps_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            depth_max: 100,
            output_bytes_max: 64 << 10,
            iterations_max: 10_000,
            steps_max: 200_000,
        }
    }
}

/// Why an expansion stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template: {name}:{line}:{column}: executing {template:?} at <{at}>: {message}")]
pub struct ExecError {
    /// Name of the text, as added to the set.
    pub name: String,
    /// 1-based line; 0 when the template does not exist.
    pub line: usize,
    /// 1-based column in bytes.
    pub column: usize,
    /// The template being expanded.
    pub template: String,
    /// The expression at fault.
    pub at: String,
    /// What is wrong.
    pub message: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escape {
    None,
    Html,
}

#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// An error inside the current tree, before its place has a name.
enum Fail {
    Here {
        pos: Pos,
        at: String,
        message: String,
    },
    /// Already placed, by a template called from here.
    Placed(ExecError),
}

pub(crate) struct Executor<'e> {
    set: &'e TemplateSet,
    functions: &'e Functions<'e>,
    limits: &'e Limits,
    escape: Escape,
    out: String,
    variables: Vec<(SmolStr, Value)>,
    depth: usize,
    iterations: usize,
    steps: usize,
}

impl<'e> Executor<'e> {
    pub(crate) fn run(
        set: &'e TemplateSet,
        name: &str,
        data: &Value,
        functions: &'e Functions<'e>,
        limits: &'e Limits,
        escape: Escape,
    ) -> Result<String, ExecError> {
        let Some(tree) = set.tree(name) else {
            return Err(ExecError {
                name: name.to_owned(),
                line: 0,
                column: 0,
                template: name.to_owned(),
                at: String::new(),
                message: format!("template {name:?} not defined"),
            });
        };
        let mut executor = Executor {
            set,
            functions,
            limits,
            escape,
            out: String::new(),
            variables: Vec::new(),
            depth: 0,
            iterations: 0,
            steps: 0,
        };
        executor.tree(tree, data)?;
        Ok(executor.out)
    }

    fn tree(&mut self, tree: &Tree, dot: &Value) -> Result<(), ExecError> {
        let outer = std::mem::take(&mut self.variables);
        self.variables.push((SmolStr::new("$"), dot.clone()));
        if tree.is_root {
            for (variable, field) in self.set.root_variables() {
                let value = lookup(dot, field).unwrap_or_default();
                self.variables.push((SmolStr::new(variable), value));
            }
        }
        let result = self.list(&tree.body, dot);
        self.variables = outer;
        match result {
            Ok(_) => Ok(()),
            Err(Fail::Placed(error)) => Err(error),
            Err(Fail::Here { pos, at, message }) => {
                let (line, column) = line_column(&tree.source, pos.offset);
                Err(ExecError {
                    name: tree.file.to_string(),
                    line,
                    column,
                    template: tree.name.clone(),
                    at,
                    message,
                })
            }
        }
    }

    fn list(&mut self, list: &ListNode, dot: &Value) -> Result<Flow, Fail> {
        self.enter(list.pos)?;
        for node in &list.nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                self.depth -= 1;
                return Ok(flow);
            }
        }
        self.depth -= 1;
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, Fail> {
        match node {
            Node::List(list) => return self.list(list, dot),
            Node::Text(text) => self.write(&text.text, text.pos)?,
            Node::Action(action) => {
                let value = self.pipe(&action.pipe, dot)?;
                if action.pipe.decl.is_empty() {
                    self.print(&value, action.pos)?;
                }
            }
            Node::If(branch) => return self.branch(branch, dot, false),
            Node::With(branch) => return self.branch(branch, dot, true),
            Node::Range(branch) => return self.range(branch, dot),
            Node::Template(call) => {
                let value = match &call.pipe {
                    Some(pipe) => self.pipe(pipe, dot)?,
                    None => Value::Nil,
                };
                let set = self.set;
                let Some(tree) = set.tree(&call.name) else {
                    return Err(fail(
                        call.pos,
                        format!("template {:?}", call.name.as_str()),
                        format!("template {:?} not defined", call.name.as_str()),
                    ));
                };
                self.enter(call.pos)?;
                self.tree(tree, &value).map_err(Fail::Placed)?;
                self.depth -= 1;
            }
            Node::Define(_) => {}
            Node::Break(_) => return Ok(Flow::Break),
            Node::Continue(_) => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn branch(&mut self, branch: &BranchNode, dot: &Value, with: bool) -> Result<Flow, Fail> {
        let mark = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let flow = if value.is_true() {
            self.list(&branch.body, if with { &value } else { dot })
        } else if let Some(other) = &branch.else_body {
            self.list(other, dot)
        } else {
            Ok(Flow::Next)
        };
        self.variables.truncate(mark);
        flow
    }

    fn range(&mut self, branch: &BranchNode, dot: &Value) -> Result<Flow, Fail> {
        let mark = self.variables.len();
        let value = self.commands(&branch.pipe, dot)?;
        let items: Vec<(Value, Value)> = match value.resolved() {
            Value::Nil => Vec::new(),
            Value::List(items) => (0_i64..)
                .map(Value::Int)
                .zip(items.iter().cloned())
                .collect(),
            Value::Map(map) => map
                .entries
                .iter()
                .map(|(k, v)| (Value::from(k.as_str()), v.clone()))
                .collect(),
            Value::Int(n) => {
                let n = n.clamp(0, self.limits.iterations_max as i64 + 1);
                (0..n).map(|i| (Value::Int(i), Value::Int(i))).collect()
            }
            other => {
                return Err(fail(
                    branch.pos,
                    show_pipe(&branch.pipe),
                    format!("range can't iterate over {other}"),
                ));
            }
        };
        if items.is_empty() {
            // A `break` there belongs to the loop around this one.
            return match &branch.else_body {
                Some(other) => self.list(other, dot),
                None => Ok(Flow::Next),
            };
        }
        for (key, item) in items {
            self.iterations += 1;
            if self.iterations > self.limits.iterations_max {
                return Err(fail(
                    branch.pos,
                    "range".to_owned(),
                    format!("more than {} iterations", self.limits.iterations_max),
                ));
            }
            match branch.pipe.decl.as_slice() {
                [] => {}
                [one] => self.bind(&branch.pipe, one, item.clone()),
                [first, second, ..] => {
                    self.bind(&branch.pipe, first, key);
                    self.bind(&branch.pipe, second, item.clone());
                }
            }
            let flow = self.list(&branch.body, &item)?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    /// Evaluates a pipeline and binds its variable.
    fn pipe(&mut self, pipe: &PipeNode, dot: &Value) -> Result<Value, Fail> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.decl {
            self.bind(pipe, name, value.clone());
        }
        Ok(value)
    }

    fn bind(&mut self, pipe: &PipeNode, name: &SmolStr, value: Value) {
        if pipe.is_assign
            && let Some(slot) = self.variables.iter_mut().rev().find(|(n, _)| n == name)
        {
            slot.1 = value;
            return;
        }
        self.variables.push((name.clone(), value));
    }

    fn commands(&mut self, pipe: &PipeNode, dot: &Value) -> Result<Value, Fail> {
        self.enter(pipe.pos)?;
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last)?);
        }
        self.depth -= 1;
        Ok(last.unwrap_or_default())
    }

    fn command(
        &mut self,
        command: &CommandNode,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Fail> {
        self.step(command.pos)?;
        let Some((first, args)) = command.args.split_first() else {
            return Ok(Value::Nil);
        };
        match first {
            Expr::Identifier(pos, name) => self.call(*pos, name, args, dot, piped),
            Expr::Field(pos, path) => {
                let receiver = dot.clone();
                self.path(*pos, receiver, path, Some((args, piped)), dot, first)
            }
            Expr::Variable(pos, name, path) if !path.is_empty() => {
                let receiver = self.variable(*pos, name)?;
                self.path(*pos, receiver, path, Some((args, piped)), dot, first)
            }
            Expr::Chain(pos, inner, path) => {
                let receiver = self.expr(inner, dot)?;
                self.path(*pos, receiver, path, Some((args, piped)), dot, first)
            }
            other if !args.is_empty() || piped.is_some() => Err(fail(
                other.pos(),
                show(other),
                format!("can't give argument to non-function {}", show(other)),
            )),
            other => self.expr(other, dot),
        }
    }

    /// A value that takes no arguments.
    fn expr(&mut self, expr: &Expr, dot: &Value) -> Result<Value, Fail> {
        self.step(expr.pos())?;
        match expr {
            Expr::Dot(_) => Ok(dot.clone()),
            Expr::Field(pos, path) => self.path(*pos, dot.clone(), path, None, dot, expr),
            Expr::Variable(pos, name, path) => {
                let receiver = self.variable(*pos, name)?;
                self.path(*pos, receiver, path, None, dot, expr)
            }
            Expr::Identifier(pos, name) => self.call(*pos, name, &[], dot, None),
            Expr::String(_, text) => Ok(Value::String(text.clone())),
            Expr::Number(_, Number::Int(i)) => Ok(Value::Int(*i)),
            Expr::Number(_, Number::Uint(u)) => Ok(Value::Float(*u as f64)),
            Expr::Number(_, Number::Float(f)) => Ok(Value::Float(*f)),
            Expr::Bool(_, b) => Ok(Value::Bool(*b)),
            Expr::Nil(_) => Ok(Value::Nil),
            Expr::Pipe(_, pipe) => {
                let mark = self.variables.len();
                let value = self.pipe(pipe, dot);
                self.variables.truncate(mark);
                value
            }
            Expr::Chain(pos, inner, path) => {
                let receiver = self.expr(inner, dot)?;
                self.path(*pos, receiver, path, None, dot, expr)
            }
        }
    }

    fn variable(&self, pos: Pos, name: &SmolStr) -> Result<Value, Fail> {
        self.variables
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
            .ok_or_else(|| {
                fail(
                    pos,
                    name.to_string(),
                    format!("undefined variable {name:?}"),
                )
            })
    }

    /// Follows `.a.b.c`; arguments go to the last step.
    fn path(
        &mut self,
        pos: Pos,
        mut receiver: Value,
        path: &[SmolStr],
        call: Option<(&[Expr], Option<Value>)>,
        dot: &Value,
        shown: &Expr,
    ) -> Result<Value, Fail> {
        let (exprs, piped) = call.unwrap_or((&[], None));
        let mut args = Vec::new();
        for expr in exprs {
            args.push(self.expr(expr, dot)?);
        }
        args.extend(piped);
        for (i, name) in path.iter().enumerate() {
            let here: &[Value] = if i + 1 == path.len() { &args } else { &[] };
            receiver =
                field(&receiver, name, here).map_err(|message| fail(pos, show(shown), message))?;
        }
        Ok(receiver)
    }

    fn call(
        &mut self,
        pos: Pos,
        name: &SmolStr,
        exprs: &[Expr],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Fail> {
        if matches!(name.as_str(), "and" | "or") {
            return self.and_or(pos, name, exprs, dot, piped);
        }
        let functions = self.functions;
        let Some(function) = functions.get(name) else {
            return Err(fail(
                pos,
                name.to_string(),
                format!("function {:?} not defined", name.as_str()),
            ));
        };
        let mut args = Vec::with_capacity(exprs.len() + 1);
        for expr in exprs {
            args.push(self.expr(expr, dot)?);
        }
        args.extend(piped);
        let value = function(&args).map_err(|message| {
            fail(
                pos,
                name.to_string(),
                format!("error calling {name}: {message}"),
            )
        })?;
        if value
            .as_str()
            .is_some_and(|s| s.len() > self.limits.output_bytes_max)
        {
            return Err(fail(
                pos,
                name.to_string(),
                format!("more than {} bytes of text", self.limits.output_bytes_max),
            ));
        }
        Ok(value)
    }

    /// Stops at the first argument that decides.
    fn and_or(
        &mut self,
        pos: Pos,
        name: &SmolStr,
        exprs: &[Expr],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Fail> {
        let decides = name == "or";
        let mut last = None;
        for expr in exprs {
            let value = self.expr(expr, dot)?;
            if value.is_true() == decides {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| {
            fail(
                pos,
                name.to_string(),
                format!("wrong number of args for {name}: want at least 1 got 0"),
            )
        })
    }

    fn print(&mut self, value: &Value, pos: Pos) -> Result<(), Fail> {
        let text = match value {
            Value::Nil => "<no value>".to_owned(),
            other => other.to_string(),
        };
        match (self.escape, value) {
            (Escape::None, _) | (Escape::Html, Value::Safe(_)) => self.write(&text, pos),
            (Escape::Html, _) => {
                let escaped = escape::html_at(&self.out, &text);
                self.write(&escaped, pos)
            }
        }
    }

    fn write(&mut self, text: &str, pos: Pos) -> Result<(), Fail> {
        self.step(pos)?;
        if self.out.len() + text.len() > self.limits.output_bytes_max {
            return Err(fail(
                pos,
                "output".to_owned(),
                format!("more than {} bytes of output", self.limits.output_bytes_max),
            ));
        }
        self.out.push_str(text);
        Ok(())
    }

    /// One level deeper; the caller steps out again unless it fails.
    fn enter(&mut self, pos: Pos) -> Result<(), Fail> {
        self.depth += 1;
        if self.depth > self.limits.depth_max {
            return Err(fail(
                pos,
                "template".to_owned(),
                format!("nested deeper than {}", self.limits.depth_max),
            ));
        }
        self.step(pos)
    }

    fn step(&mut self, pos: Pos) -> Result<(), Fail> {
        self.steps += 1;
        if self.steps > self.limits.steps_max {
            return Err(fail(
                pos,
                "template".to_owned(),
                format!("more than {} steps", self.limits.steps_max),
            ));
        }
        Ok(())
    }
}

fn fail(pos: Pos, at: String, message: String) -> Fail {
    Fail::Here { pos, at, message }
}

/// A field or method without arguments, if there is one.
fn lookup(receiver: &Value, name: &str) -> Option<Value> {
    field(receiver, name, &[]).ok()
}

/// A method, a field, or the entry of a map: in that order, as Go looks for them.
fn field(receiver: &Value, name: &str, args: &[Value]) -> Result<Value, String> {
    let method = match receiver {
        Value::Object(o) => o.call(name, args),
        Value::Time(t) => t.call(name, args),
        Value::Duration(d) => d.call(name, args),
        _ => None,
    };
    if let Some(result) = method {
        return result.map_err(|message| format!("error calling {name}: {message}"));
    }
    let found = match receiver {
        Value::Nil => return Err(format!("nil pointer evaluating interface {{}}.{name}")),
        Value::Object(o) => o.field(name).or_else(|| match o.underlying() {
            Some(Value::Map(map)) => Some(entry(&map, name)),
            _ => None,
        }),
        Value::Map(map) => Some(entry(map, name)),
        _ => None,
    };
    match found {
        Some(_) if !args.is_empty() => Err(format!(
            "{name} has arguments but cannot be invoked as function"
        )),
        Some(value) => Ok(value),
        None => Err(format!(
            "can't evaluate field {name} in type {}",
            receiver.type_name()
        )),
    }
}

fn entry(map: &crate::Map, name: &str) -> Value {
    map.entries.get(name).unwrap_or(&map.zero).clone()
}

/// An expression as Go's errors print it.
fn show(expr: &Expr) -> String {
    let dotted = |path: &[SmolStr]| path.iter().map(|p| format!(".{p}")).collect::<String>();
    match expr {
        Expr::Dot(_) => ".".to_owned(),
        Expr::Field(_, path) => dotted(path),
        Expr::Variable(_, name, path) => format!("{name}{}", dotted(path)),
        Expr::Identifier(_, name) => name.to_string(),
        Expr::String(_, text) => format!("{text:?}"),
        Expr::Number(_, Number::Int(i)) => i.to_string(),
        Expr::Number(_, Number::Uint(u)) => u.to_string(),
        Expr::Number(_, Number::Float(f)) => model::number::format_sprint(*f),
        Expr::Bool(_, b) => b.to_string(),
        Expr::Nil(_) => "nil".to_owned(),
        Expr::Pipe(_, pipe) => format!("({})", show_pipe(pipe)),
        Expr::Chain(_, inner, path) => format!("{}{}", show(inner), dotted(path)),
    }
}

fn show_pipe(pipe: &PipeNode) -> String {
    let commands: Vec<String> = pipe
        .commands
        .iter()
        .map(|c| c.args.iter().map(show).collect::<Vec<_>>().join(" "))
        .collect();
    commands.join(" | ")
}
