// The few entry points of the graph engine for which "return 0" is not enough: constructors, and functions that return an
// object by value, must leave an initialised object behind. Own code; every handle of that interface is one shared_ptr.
// Built with the old std::string ABI, which the plugin uses.
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace ge {
using Handle = std::shared_ptr<void>;
enum Format : int {};
enum DataType : int {};

class StatusFactory {
 public:
  static StatusFactory *Instance();

 private:
  std::map<unsigned, std::string> messages_;
  char room_[256];  // for members that only the real one has
};
StatusFactory *StatusFactory::Instance() {
  static StatusFactory *only = new StatusFactory();
  return only;
}

class AscendString {
 public:
  AscendString(const char *);
  const char *GetString() const;

 private:
  Handle handle_;
};
AscendString::AscendString(const char *) {}
const char *AscendString::GetString() const { return ""; }

class Shape {
 public:
  Shape();
  Shape(const std::vector<long> &);

 private:
  Handle handle_;
};
Shape::Shape() {}
Shape::Shape(const std::vector<long> &) {}

class TensorDesc {
 public:
  TensorDesc();
  TensorDesc(Shape, Format, DataType);
  TensorDesc(const TensorDesc &);
  TensorDesc(TensorDesc &&);

 private:
  Handle handle_;
};
TensorDesc::TensorDesc() {}
TensorDesc::TensorDesc(Shape, Format, DataType) {}
TensorDesc::TensorDesc(const TensorDesc &) {}
TensorDesc::TensorDesc(TensorDesc &&) {}

class Tensor {
 public:
  Tensor();
  explicit Tensor(const TensorDesc &);

 private:
  Handle handle_;
};
Tensor::Tensor() {}
Tensor::Tensor(const TensorDesc &) {}

class Graph {
 public:
  Graph(const char *);
  Graph(const std::string &);

 private:
  Handle handle_;
};
Graph::Graph(const char *) {}
Graph::Graph(const std::string &) {}

class Operator {
 public:
  virtual ~Operator() = default;
  Operator(const char *);
  Operator(const char *, const char *);
  Operator(const AscendString &, const AscendString &);
  Operator(const std::string &);
  Operator(const std::string &, const std::string &);
  std::string GetName() const;
  std::string GetOpType() const;
  TensorDesc GetOutputDesc(unsigned) const;
  TensorDesc GetOutputDesc(const std::string &) const;

 private:
  Handle handle_;
};
Operator::Operator(const char *) {}
Operator::Operator(const char *, const char *) {}
Operator::Operator(const AscendString &, const AscendString &) {}
Operator::Operator(const std::string &) {}
Operator::Operator(const std::string &, const std::string &) {}
std::string Operator::GetName() const { return ""; }
std::string Operator::GetOpType() const { return ""; }
TensorDesc Operator::GetOutputDesc(unsigned) const { return TensorDesc(); }
TensorDesc Operator::GetOutputDesc(const std::string &) const { return TensorDesc(); }

class OperatorFactory {
 public:
  static Operator CreateOperator(const char *, const char *);
  static Operator CreateOperator(const std::string &, const std::string &);
};
Operator OperatorFactory::CreateOperator(const char *, const char *) { return Operator(""); }
Operator OperatorFactory::CreateOperator(const std::string &, const std::string &) { return Operator(""); }
}  // namespace ge
